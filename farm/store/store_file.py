"""An HDF5 file whose datasets, once asked for, stay open as long as it does.

HDF5 writes the chunks of a dataset when the file is flushed or the dataset is closed. h5py closes one as
soon as Python lets go of it, and cannot raise what goes wrong then: on a full disk, data would be lost
without a word. Nor is a dataset opened again for every row.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import h5py


class StoreFile:
    """The few things that the store does with an open ``h5py.File``. A context manager."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._datasets: dict[str, Any] = {}

    def __enter__(self) -> StoreFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def __getitem__(self, name: str) -> Any:
        """A dataset. Raises KeyError where there is none."""
        if name not in self._datasets:
            self._datasets[name] = self._file[name]
        return self._datasets[name]

    def visit(self, take: Callable[[str, Any], None]) -> None:
        """Call ``take`` with the name and the dataset of each."""
        self._file.visititems(
            lambda name, item: take(name, item) if isinstance(item, h5py.Dataset) else None
        )

    @property
    def attrs(self) -> Any:
        """Of the file."""
        return self._file.attrs

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._file.filename)

    @property
    def is_open(self) -> bool:
        """Whether it is."""
        return bool(self._file.id.valid)

    @property
    def descriptor(self) -> int:
        """Of the system."""
        return int(self._file.id.get_vfd_handle())

    def flush(self) -> None:
        """Hand everything to the system, in the order that lets others read meanwhile."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close; again is allowed. Raises what h5py does where the disk refuses."""
        if not self.is_open:
            return
        try:
            if self._file.mode != "r":
                self._file.flush()
        finally:
            self._file.close()
            self._datasets.clear()
