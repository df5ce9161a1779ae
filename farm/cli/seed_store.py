"""The store as ``farm seed`` asks it: what is answered already."""

from __future__ import annotations

from pathlib import Path

from farm.job import Outcome
from farm.sources import Distinct
from farm.store import open_store


class StoreReader:
    """Reads the store again only when its file has changed: a batch may ask each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._held: frozenset[str] = frozenset()
        self._failed: frozenset[str] = frozenset()

    def held_job_ids(self) -> frozenset[str] | None:
        """The jobs the store has answered; None where there is no store to be seen."""
        return self._held if self._read() else None

    def failed_job_ids(self) -> frozenset[str]:
        """Of these the ones that have failed."""
        return self._failed if self._read() else frozenset()

    def distinct(self, protocol_hash: str) -> Distinct:
        """The structures of what the store has answered under a protocol, failures left out."""
        found = Distinct()
        if self._path.is_file():
            with open_store(self._path) as store:
                for row in store.rows():
                    if row.protocol_hash == protocol_hash and row.outcome is not Outcome.FAILED:
                        found.add(store.crystal(row.index))
        return found

    def _read(self) -> bool:
        if not self._path.is_file():
            return False
        stat = self._path.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            with open_store(self._path) as store:
                self._held = frozenset(store.held_job_ids())
                self._failed = frozenset(store.failed_job_ids())
            self._stamp = stamp
        return True
