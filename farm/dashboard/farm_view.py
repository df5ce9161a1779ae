"""A farm as the pages see it: its settings, its backlog, its store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from farm.backlog import Backlog
from farm.dashboard.catalogue import Catalogue
from farm.overview import gather
from farm.settings import Settings
from farm.store import Store, open_store

# As old may the document be that a page is made from.
_FRESH_S = 1.0


class Farm:
    """What the routers get as ``request.app.state.farm``; used from many threads.

    backlog:   raises BrokerError when Redis does not answer
    catalogue: what the store holds, never waited for
    """

    def __init__(self, settings: Settings, backlog: Backlog) -> None:
        self.settings = settings
        self.backlog = backlog
        self.catalogue = Catalogue(settings.store_path)
        self._document: tuple[float, dict[str, Any]] | None = None
        self._gathering = threading.Lock()
        self._store: Store | None = None
        self._reading = threading.Lock()

    def document(self) -> dict[str, Any]:
        """The document of ``farm status``, a second old at most: many may look at the same time.

        Raises BrokerError when Redis does not answer, StoreError for a store that cannot be read.
        """
        with self._gathering:
            now_s = time.monotonic()
            if self._document is None or now_s - self._document[0] > _FRESH_S:
                self._document = (now_s, gather(self.backlog, self.settings))
            return self._document[1]

    @contextmanager
    def store(self) -> Iterator[Store | None]:
        """The store as it is now, for one thread at a time; None where there is none yet.

        It stays open: opening a long one takes longer than reading a row. Raises StoreError.
        """
        with self._reading:
            if not self.settings.store_path.is_file():
                yield None
                return
            if self._store is None:
                self._store = open_store(self.settings.store_path)
            else:
                self._store.refresh()
            yield self._store

    def close(self) -> None:
        """Let go of the store."""
        self.catalogue.close()
        with self._reading:
            if self._store is not None:
                self._store.close()
                self._store = None
