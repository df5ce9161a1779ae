"""Any path -> crystals: files by their name, directories with everything below them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from farm.crystal import Crystal
from farm.sources.bundled import bundled_crystals
from farm.sources.items import Rejected
from farm.sources.json_files import read_json
from farm.sources.structure_files import read_cif, read_poscar

Reader = Callable[[Path], Iterator[Crystal | Rejected]]

_FORMATS = "*.cif, *.vasp, POSCAR*, CONTCAR*, *.json, *.json.bz2 or *.json.gz"
_BY_SUFFIX: tuple[tuple[str, Reader], ...] = (
    (".cif", read_cif),
    (".vasp", read_poscar),
    (".poscar", read_poscar),
    (".json", read_json),
    (".json.bz2", read_json),
    (".json.gz", read_json),
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
    for folder, subfolders, names in os.walk(directory):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            reader = _reader(path)
            if reader is not None and not name.startswith("."):
                found = True
                yield from _read_file(path, reader)
    if not found:
        yield Rejected(str(directory), "no structure files in it", f"Put {_FORMATS} there")


def _read_file(path: Path, reader: Reader) -> Iterator[Crystal | Rejected]:
    try:
        yield from reader(path)
    except OSError as error:
        yield Rejected(str(path), f"cannot be read: {error.strerror or error}", "Check its permissions")


def _reader(path: Path) -> Reader | None:
    name = path.name
    if name.startswith(("POSCAR", "CONTCAR")) and not name.lower().endswith((".json", ".cif")):
        return read_poscar
    return next((reader for suffix, reader in _BY_SUFFIX if name.lower().endswith(suffix)), None)
