"""What the store holds, in memory: a table that is made anew in the background as results arrive."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from farm.errors import StoreError
from farm.failures import Failure, by_diagnosis, failures
from farm.store import open_store

if TYPE_CHECKING:
    import pandas as pd

LOGGER = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# Of the time, building may take a tenth.
_REST = 9.0


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The store at one moment.

    frame:    ``Store.frame(crystal=True)``, one row a material, protocol and engine; None: no store yet
    failures: all that are neither done nor metals
    error:    why the store could not be read, in one line
    """

    frame: pd.DataFrame | None = None
    failures: list[Failure] = field(default_factory=list)
    error: str = ""

    @cached_property
    def by_diagnosis(self) -> dict[str, int]:
        """How many failures of each kind."""
        return by_diagnosis(self.failures)


class Catalogue:
    """The newest snapshot, and the thread that makes it."""

    def __init__(self, store_path: Path) -> None:
        self._path = store_path
        self._snapshot = Snapshot()
        self._seen: object = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The newest there is."""
        return self._snapshot

    def start(self) -> None:
        """Make the first snapshot, and keep it up to date from then on."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="catalogue", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def refresh(self) -> None:
        """Make a new snapshot where the store has changed."""
        if not self._path.is_file():
            return
        try:
            with open_store(self._path) as store:
                if store.n_rows == self._seen:
                    return
                self._snapshot = Snapshot(frame=store.frame(crystal=True), failures=failures(store))
                self._seen = store.n_rows
        except StoreError as error:
            self._snapshot = Snapshot(self._snapshot.frame, self._snapshot.failures, str(error))

    def _watch(self) -> None:
        rest_s = _LOOK_EVERY_S
        while not self._stop.wait(rest_s):
            start_s = time.monotonic()
            self.refresh()
            rest_s = max(_LOOK_EVERY_S, _REST * (time.monotonic() - start_s))
