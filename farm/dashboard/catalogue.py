"""The newest snapshot of the store, made in the background as results arrive: no page waits for it."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from farm.dashboard.row_texts import TextMemory
from farm.dashboard.snapshot import Snapshot, take_snapshot
from farm.errors import StoreError
from farm.store import Store, open_store

LOGGER = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# Snapshots may take a tenth of the time of one processor.
_REST = 9.0


class Catalogue:
    """The newest snapshot, and the thread that makes it.

    snapshot: None where there is no store, or it could not be read yet
    error:    why it cannot be read now, in one line; empty where it can
    """

    def __init__(self, store_path: Path) -> None:
        self.snapshot: Snapshot | None = None
        self.error = ""
        self._path = store_path
        self._store: Store | None = None
        self._texts = TextMemory()
        self._seen: tuple[int, int, int] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Make the first snapshot, and keep it up to date from then on."""
        self.look()
        self._thread = threading.Thread(target=self._watch, name="catalogue", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the store."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._forget()

    def look(self) -> bool:
        """Make a new snapshot where the store has changed; whether it had. One thread at a time."""
        try:
            # One that was there and is gone is an error.
            return (self.snapshot is not None or self._path.is_file()) and self._look()
        except (StoreError, OSError) as error:
            told = str(error)
        except Exception as error:  # noqa: BLE001 - a text may be damaged in any way, and the thread goes on
            told = f"{self._path}: damaged: {error!r}"
        # Shown on every page; what was read before stays.
        if told != self.error:
            LOGGER.warning("%s", told)
        self.error = told
        self._forget()
        return False

    def _look(self) -> bool:
        if self._store is None:
            self._store = open_store(self._path)
        status, n_rows = self._path.stat(), self._store.refresh()
        seen = (status.st_dev, status.st_ino, n_rows)
        if seen == self._seen:
            self.error = ""
            return False
        if self._seen is None or seen[:2] != self._seen[:2]:
            self._texts = TextMemory()
        self.snapshot = take_snapshot(self._store, self._texts.take_in(self._store))
        self._seen, self.error = seen, ""
        return True

    def _forget(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store, self._seen = None, None

    def _watch(self) -> None:
        rest_s = _LOOK_EVERY_S
        while not self._stop.wait(rest_s):
            start_s = time.monotonic()
            self.look()
            rest_s = max(_LOOK_EVERY_S, _REST * (time.monotonic() - start_s))
