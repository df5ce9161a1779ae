"""Results on their way into the store: one file each, there completely or not at all.

A result is on the disk here before the HDF5 file is touched and leaves only when that file is on the
disk too, so that whatever kills the writer, the result is in one of the two places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from farm.errors import StoreError
from farm.store.layout import fsync_path

SUFFIX = ".result"
UNREADABLE_SUFFIX = ".unreadable"


def spool_of(store: Path) -> Path:
    """The directory of the spool of the store at a path."""
    return store.with_name(store.name + ".spool")


@dataclass(frozen=True)
class Spool:
    """A directory of packed results."""

    directory: Path

    def put(self, payload: bytes, name: str) -> Path:
        """Write one result durably. Raises StoreError where the disk refuses."""
        target = self.directory / (name + SUFFIX)
        unfinished = self.directory / (name + ".tmp")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
            fsync_path(self.directory)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise StoreError(
                f"{target}: the result could not be written: {error}", fix="Free disk space there"
            ) from error
        return target

    def waiting(self) -> Iterator[Path]:
        """The results that wait, oldest first."""
        if self.directory.is_dir():
            yield from sorted(self.directory.glob("*" + SUFFIX))

    def set_aside_before(self) -> Iterator[Path]:
        """Files that were set aside."""
        if self.directory.is_dir():
            yield from sorted(self.directory.glob("*" + UNREADABLE_SUFFIX))

    def set_aside(self, path: Path) -> Path:
        """Keep a file that is no result of this version out of the way, for a human to look at."""
        kept = path.with_suffix(UNREADABLE_SUFFIX)
        os.replace(path, kept)
        return kept

    def sweep(self) -> None:
        """Remove what a killed writer left half written: it was never acknowledged."""
        if self.directory.is_dir():
            for unfinished in self.directory.glob("*.tmp"):
                unfinished.unlink(missing_ok=True)
