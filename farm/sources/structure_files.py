"""CIF and POSCAR files. Whatever the parser warns of is either harmless or becomes a reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from farm.crystal import Crystal
from farm.sources.admission import admit
from farm.sources.items import Rejected, Unparsed
from farm.sources.opening import Meter, brief, open_bytes

# What the CIF parser only warns of although the structure is then not the one in the file.
_CIF_FATAL = (
    ("implicit hydrogen", "hydrogens are implied but have no positions", "Add the hydrogen positions"),
    ("Incorrect stoichiometry", "atoms and chemical formula of the file disagree", "Complete the sites"),
    ("Missing elements", "the formula names elements that have no site", "Complete the sites"),
)
# Each character of the text is in one block; what is before the first `data_` is comment.
_CIF_BLOCK = re.compile(r"^[ \t]*data_", re.MULTILINE | re.IGNORECASE)
# The parser turns such a cell vector round: another crystal.
_CIF_NEGATIVE = re.compile(r"^[ \t]*(_cell_length_[abc])\s+['\"]?-", re.MULTILINE | re.IGNORECASE)


def cut_cif(path: Path, meter: Meter) -> Iterator[Unparsed | Rejected]:
    """The data blocks that have a cell. The text must be UTF-8 or Latin-1."""
    text = _text(path, meter)
    starts = [match.start() for match in _CIF_BLOCK.finditer(text)]
    blocks = [text[a:b] for a, b in pairwise([*starts, len(text)])]
    with_cell = [block for block in blocks if "_cell_length_a" in block.lower()]
    if not with_cell:
        what = "the file is empty" if not text.strip() else "no data block has a cell"
        yield Rejected(str(path), what, "Give a CIF with `_cell_length_a` and atom sites")
    for block in with_cell:
        name = block.split(maxsplit=1)[0][len("data_") :]
        yield Unparsed("cif", block, str(path) if len(with_cell) == 1 else f"{path}, data_{name}")


def cut_poscar(path: Path, meter: Meter) -> Iterator[Unparsed | Rejected]:
    """The text of a POSCAR or CONTCAR."""
    text = _text(path, meter)
    if text.strip():
        yield Unparsed("poscar", text, str(path))
    else:
        yield Rejected(str(path), "the file is empty", "Give a POSCAR with a cell and sites")


def parse_poscar(item: Unparsed) -> Crystal | Rejected:
    """The one crystal of a POSCAR or CONTCAR."""
    from pymatgen.io.vasp import Poscar

    source = item.source
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            structure = Poscar.from_str(item.content, read_velocities=False).structure
    except Exception as error:  # noqa: BLE001 - pymatgen's parser raises anything on bad input
        return Rejected(source, f"not a POSCAR: {brief(error)}", "Check cell, counts and sites")
    if any("cannot be determined" in str(warning.message) for warning in caught):
        return Rejected(source, "the elements are not named", "Add their symbols above the counts (VASP 5)")
    return admit(structure, source=source)


def parse_cif(item: Unparsed) -> Crystal | Rejected:
    """The crystal of a data block."""
    from pymatgen.io.cif import CifParser

    source = item.source
    if negative := _CIF_NEGATIVE.search(item.content):
        return Rejected(source, f"{negative[1]} is negative", "Correct the cell and the sites")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Occupancies above 1 are overlapping sites or a wrong file: never scaled away.
            parser = CifParser.from_str(item.content, occupancy_tolerance=1.0)
            (structure,) = parser.parse_structures(primitive=False, on_error="raise")
            wrong = parser.check(structure)
    except Exception as error:  # noqa: BLE001 - pymatgen's parser raises anything on bad input
        return Rejected(source, f"no structure: {brief(error)}", "Check cell, symmetry and sites")
    found = admit(structure, source=source)
    if not isinstance(found, Crystal):
        return found
    said = " ".join([wrong or "", *getattr(parser, "warnings", ())])
    for sign, reason, fix in _CIF_FATAL:
        if sign in said:
            return Rejected(source, reason, fix)
    return found


def _text(path: Path, meter: Meter) -> str:
    with open_bytes(path, meter) as stream:
        data = stream.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
