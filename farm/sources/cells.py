"""Cells with Cartesian positions, as databases keep them, in pymatgen's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def structure_dictionary(
    lattice_angstrom: NDArray[np.float64],
    positions_angstrom: NDArray[np.float64],
    species: Sequence[Sequence[dict[str, Any]]],
) -> dict[str, Any] | None:
    """A pymatgen Structure dictionary; None for a cell without volume.

    lattice_angstrom ``(3, 3)`` has the cell vectors as rows, positions_angstrom ``(n, 3)`` a site a row,
    species what is on each site (``element`` and ``occu``). Whether it makes sense is judged later, where
    all structures are: numbers that are none among the fractions, too.
    """
    with np.errstate(all="ignore"):
        try:
            fractions = positions_angstrom @ np.linalg.inv(lattice_angstrom)
        except np.linalg.LinAlgError:
            return None
    return {
        "lattice": {"matrix": lattice_angstrom.tolist()},
        "sites": [
            {"species": list(on_site), "abc": abc}
            for on_site, abc in zip(species, fractions.tolist(), strict=True)
        ],
    }
