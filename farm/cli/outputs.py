"""Files that a command writes: never over what it reads, nor over the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from farm.errors import InputError


def spare(output: Path, sources: Iterable[Path], is_read: Callable[[Path], bool] = lambda _: False) -> None:
    """Refuse to write ``output`` where that would destroy what is to be read.

    sources: files and directories that are read
    is_read: whether a file below such a directory is read, by its name

    Raises InputError.
    """
    for source in sources:
        if source.is_dir():
            same = is_read(output) and output.resolve().is_relative_to(source.resolve())
        else:
            same = source.exists() and output.exists() and output.samefile(source)
        if same:
            raise InputError(f"{output} would be written over what is read", fix="Give another name")


def spare_store(output: Path, store_path: Path) -> None:
    """Refuse to write ``output`` over the store. Raises InputError."""
    if output.exists() and store_path.exists() and output.samefile(store_path):
        raise InputError(f"{output} is the store itself", fix="Give another name")
