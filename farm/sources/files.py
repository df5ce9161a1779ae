"""Any path -> crystals: files by their name, directories with everything below them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from farm.crystal import Crystal
from farm.sources.bundled import bundled_crystals
from farm.sources.items import Rejected
from farm.sources.json_files import read_json
from farm.sources.opening import COMPRESSED, DAMAGED, brief
from farm.sources.structure_files import read_cif, read_poscar

Reader = Callable[[Path], Iterator[Crystal | Rejected]]

_FORMATS = "*.cif, *.vasp, POSCAR*, CONTCAR* or *.json (each plain, .bz2 or .gz)"
_BY_SUFFIX: tuple[tuple[str, Reader], ...] = (
    (".cif", read_cif),
    (".vasp", read_poscar),
    (".poscar", read_poscar),
    (".json", read_json),
)


def read_source(path: str | Path | None) -> Iterator[Crystal | Rejected]:
    """The crystals of a file or of all files in a directory; None: the bundled ones.

    A file or entry that cannot be used comes as Rejected, and the next one follows: bad input never
    raises. Files below a directory are read in the order of their paths.
    """
    if path is None:
        yield from bundled_crystals()
        return
    path = Path(path)
    if path.is_dir():
        yield from _read_directory(path)
        return
    reader = _reader(path)
    if not path.exists():
        yield Rejected(str(path), "no such file or directory", "Check the path")
    elif reader is None:
        yield Rejected(str(path), "the format is not known", f"Name it {_FORMATS}")
    else:
        yield from _read_file(path, reader)


def _read_directory(directory: Path) -> Iterator[Crystal | Rejected]:
    found = False
    closed: list[OSError] = []  # os.walk leaves such folders out without a word
    for folder, subfolders, names in os.walk(directory, onerror=closed.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            reader = _reader(path)
            if reader is not None and not name.startswith("."):
                found = True
                yield from _read_file(path, reader)
    for error in closed:
        yield _unreadable(str(error.filename), error)
    if not found and not closed:
        yield Rejected(str(directory), "no structure files in it", f"Put {_FORMATS} there")


def _read_file(path: Path, reader: Reader) -> Iterator[Crystal | Rejected]:
    if path.exists() and not path.is_file():
        # Reading a pipe or a device would wait for ever.
        yield Rejected(str(path), "not a regular file", "Copy its content to a file")
        return
    try:
        yield from reader(path)
    except OSError as error:
        yield _unreadable(str(path), error)
    except DAMAGED as error:
        yield Rejected(str(path), f"damaged: {brief(error)}", "Get the file again")


def _unreadable(name: str, error: OSError) -> Rejected:
    if error.errno is None:  # said by a decompressor, not by the system
        return Rejected(name, f"damaged: {brief(error)}", "Get the file again")
    return Rejected(name, f"cannot be read: {error.strerror or error}", "Check its permissions")


def _reader(path: Path) -> Reader | None:
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    for suffix, reader in _BY_SUFFIX:
        if name.endswith(suffix):
            return reader
    return read_poscar if path.name.startswith(("POSCAR", "CONTCAR")) else None
