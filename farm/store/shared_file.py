"""All readers of one process have a file open once.

HDF5 keeps one copy of what it knows of a file, however often a process opens it. When a dataset is read
through two handles and one of them is refreshed, to see what a writer has added, both take the first chunk
for any other from then on, without a word (HDF5 2.0.0). So there is one handle, and it is shared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from weakref import WeakSet, WeakValueDictionary

from farm.store.store_file import StoreFile


class _Opened:
    """A file that is open, and who reads it."""

    def __init__(self, file: StoreFile) -> None:
        self.file = file
        self.readers: WeakSet[_SharedFile] = WeakSet()


class _SharedFile(StoreFile):
    """The file of one reader: closed when the last of all is."""

    def __init__(self, opened: _Opened) -> None:
        super().__init__(opened.file._file)
        self._datasets = opened.file._datasets
        self._opened = opened
        opened.readers.add(self)

    @property
    def is_open(self) -> bool:
        """Whether it is, for this reader."""
        return self in self._opened.readers and self._opened.file.is_open

    def close(self) -> None:
        """Close it for this reader; again is allowed."""
        with _LOCK:
            self._opened.readers.discard(self)
            if not self._opened.readers:
                self._opened.file.close()


# Weak: a reader that is let go without closing takes its file along.
_OPENED: WeakValueDictionary[tuple[int, int], _Opened] = WeakValueDictionary()
_LOCK = threading.Lock()


def shared(path: Path, open_it: Callable[[], StoreFile]) -> StoreFile:
    """The file at ``path`` for one more reader; opened if no other has that very file open."""
    with _LOCK:
        opened = _OPENED.get(_inode(path.stat()))
        if opened is None or not opened.file.is_open:
            opened = _Opened(open_it())
            _OPENED[_inode(os.fstat(opened.file.descriptor))] = opened
        return _SharedFile(opened)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
