"""Any path -> crystals: files by their name, directories with everything below them.

In two steps, so that the second, which takes all the time, can go to other processes: files are cut into
structures that are not understood yet, and each is parsed on its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from farm.crystal import Crystal
from farm.sources.ase_databases import cut_ase_database
from farm.sources.bundled import bundled_crystals
from farm.sources.items import Rejected, Skipped, Unparsed
from farm.sources.json_files import Unwanted, cut_json, parse_structure
from farm.sources.opening import COMPRESSED, DAMAGED, Meter, brief
from farm.sources.structure_files import cut_cif, cut_poscar, parse_cif, parse_poscar

Cutter = Callable[[Path, Meter], Iterator[Unparsed | Rejected]]

_FORMATS = "*.cif, *.vasp, POSCAR*, CONTCAR*, *.json (each plain, .bz2 or .gz) or *.db (ASE)"
_BY_SUFFIX: tuple[tuple[str, Cutter], ...] = (
    (".cif", cut_cif),
    (".vasp", cut_poscar),
    (".poscar", cut_poscar),
    (".json", cut_json),
    (".db", cut_ase_database),
)


def read_source(path: str | Path | None) -> Iterator[Crystal | Rejected]:
    """The crystals of a file or of all files in a directory; None: the bundled ones.

    A file or entry that cannot be used comes as Rejected, and the next one follows: bad input never
    raises. Files below a directory are read in the order of their paths.
    """
    for item in cut_source(path):
        parsed = parse(item)
        if not isinstance(parsed, Skipped):  # nothing is: all are wanted
            yield parsed


def cut_source(
    path: str | Path | None, meter: Meter | None = None
) -> Iterator[Unparsed | Crystal | Rejected]:
    """What :func:`read_source` reads, before it is parsed; the bundled crystals come as they are.

    meter: is told how much was read
    """
    if path is None:
        yield from bundled_crystals()
        return
    path, meter = Path(path), meter or Meter()
    if path.is_dir():
        yield from _cut_directory(path, meter)
        return
    cutter = _cutter(path)
    if not path.exists():
        yield Rejected(str(path), "no such file or directory", "Check the path")
    elif cutter is None:
        yield Rejected(str(path), "the format is not known", f"Name it {_FORMATS}")
    else:
        yield from _cut_file(path, cutter, meter)


def parse(
    item: Unparsed | Crystal | Rejected, unwanted: Unwanted | None = None
) -> Crystal | Rejected | Skipped:
    """The crystal of what was cut out of a file, or why there is none.

    unwanted: of elements and properties, why such a crystal is not wanted; asked early where that saves
        work, so that what passes has still to be judged
    """
    if not isinstance(item, Unparsed):
        return item
    if item.form == "structure":
        return parse_structure(item, unwanted)
    return parse_cif(item) if item.form == "cif" else parse_poscar(item)


def is_structure_file(path: Path) -> bool:
    """Whether a file of this name is read below a directory."""
    return _cutter(path) is not None and not path.name.startswith(".")


def source_bytes(path: str | Path | None) -> int:
    """What :func:`cut_source` will read of a source, as its meter counts."""
    if path is None:
        return 0
    path = Path(path)
    paths = (found for found, _ in _structure_files(path, [])) if path.is_dir() else iter([path])
    return sum(file.stat().st_size for file in paths if file.is_file())


def _cut_directory(directory: Path, meter: Meter) -> Iterator[Unparsed | Rejected]:
    found = False
    closed: list[OSError] = []
    for path, cutter in _structure_files(directory, closed):
        found = True
        yield from _cut_file(path, cutter, meter)
    for error in closed:
        yield _unreadable(str(error.filename), error)
    if not found and not closed:
        yield Rejected(str(directory), "no structure files in it", f"Put {_FORMATS} there")


def _structure_files(directory: Path, closed: list[OSError]) -> Iterator[tuple[Path, Cutter]]:
    """Files with a known name in the order of their paths; folders that cannot be read go to ``closed``."""
    # os.walk leaves such folders out without a word.
    for folder, subfolders, names in os.walk(directory, onerror=closed.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            cutter = _cutter(path)
            if cutter is not None and not name.startswith("."):
                yield path, cutter


def _cut_file(path: Path, cutter: Cutter, meter: Meter) -> Iterator[Unparsed | Rejected]:
    if path.exists() and not path.is_file():
        # Reading a pipe or a device would wait for ever.
        yield Rejected(str(path), "not a regular file", "Copy its content to a file")
        return
    try:
        yield from cutter(path, meter)
    except OSError as error:
        yield _unreadable(str(path), error)
    except DAMAGED as error:
        yield Rejected(str(path), f"damaged: {brief(error)}", "Get the file again")


def _unreadable(name: str, error: OSError) -> Rejected:
    if error.errno is None:  # said by a decompressor, not by the system
        return Rejected(name, f"damaged: {brief(error)}", "Get the file again")
    return Rejected(name, f"cannot be read: {error.strerror or error}", "Check its permissions")


def _cutter(path: Path) -> Cutter | None:
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    for suffix, cutter in _BY_SUFFIX:
        if name.endswith(suffix):
            return cutter
    return cut_poscar if path.name.startswith(("POSCAR", "CONTCAR")) else None
