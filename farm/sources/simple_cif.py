"""The cell of a plain CIF in a fraction of a millisecond, where nothing in it needs a second look."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farm.crystal import MATERIAL_ID, Crystal, crystal_of_cell

if TYPE_CHECKING:
    import gemmi

_FORMULA_PART = re.compile(r"([A-Z][a-z]?)([0-9]*)")


def read_simple_cif(path: Path) -> Crystal | None:
    """The one crystal of a CIF, its cell as in the file and with the name of the file.

    None for everything that is not plain: several data blocks, partial occupancy, disorder, symmetry that
    contradicts itself, lengths below zero, a formula that is missing or not that of the sites, sites too
    close.
    ``farm.sources.read_source`` reads those, or says what is wrong with them.
    """
    import gemmi

    if not path.is_file():  # reading a pipe would wait for ever
        return None
    try:
        document = gemmi.cif.read(str(path))
        if len(document) != 1:
            return None
        block = document.sole_block()
        small = gemmi.make_small_structure_from_block(block)
    except (OSError, RuntimeError, ValueError, UnicodeDecodeError):
        return None
    if small.spacegroup is None or small.check_spacegroup() or not small.sites:
        return None
    # gemmi turns a cell vector of negative length round.
    if min(small.cell.parameters[:3]) <= 0:
        return None
    if any(
        site.occ != 1.0 or site.disorder_group or site.element.atomic_number == 0 for site in small.sites
    ):
        return None
    sites = small.get_all_unit_cell_sites()
    if not _has_formula(block, (site.element.name for site in sites)):
        return None
    fractions = np.array([site.fract.tolist() for site in sites], dtype=np.float64)
    # The columns of gemmi's matrix are the cell vectors.
    lattice = np.array(small.cell.orth.mat.tolist(), dtype=np.float64).T
    numbers = [site.element.atomic_number for site in sites]
    name = path.stem if MATERIAL_ID.fullmatch(path.stem) else None
    return crystal_of_cell(lattice, fractions, numbers, material_id=name, source=str(path))


def _has_formula(block: gemmi.cif.Block, symbols: Iterable[str]) -> bool:
    """Whether the sites are those of the formula in the file; a file without one cannot be checked."""
    written = block.find_value("_chemical_formula_sum")
    if written is None:
        return False
    told: Counter[str] = Counter()
    for symbol, number in _FORMULA_PART.findall(written):
        told[symbol] += int(number or 1)
    found = Counter(symbols)
    return _reduced(told) == _reduced(found)


def _reduced(counts: Counter[str]) -> dict[str, int]:
    divisor = gcd(*counts.values()) or 1
    return {symbol: n // divisor for symbol, n in counts.items()}
