"""Which Cartesian directions stand for others: the published files leave equivalent ones out; pure.

``xx`` alone is a cubic crystal, ``xx`` and ``zz`` one with its axis along z. That is not believed but
looked up: where a cell lies otherwise, other directions are equal.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.kpoints import SpaceGroup, space_group
from farm.spectrum import FloatArray

# The names of the files for the diagonal of eps along Cartesian x, y, z.
KEYS = ("xx", "yy", "zz")

# Tried in turn, in angstrom: positions of six or eight digits are not always on their sites.
_SYMPRECS = (0.01, 0.1)
# For x, y, z the one of them whose spectrum it has.
Filling = tuple[int, int, int]


class Symmetry(NamedTuple):
    """What the symmetry of a cell says of directions.

    number, space_group: international number and symbol
    equal:               bool ``(3, 3)``: eps is the same along two directions, whatever it is
    """

    number: int
    space_group: str
    equal: NDArray[np.bool_]


def symmetry_of(crystal: Crystal, symprec: float = _SYMPRECS[0]) -> Symmetry:
    """Symbol and equal directions of a cell. Raises CrystalError when spglib finds no space group."""
    group = space_group(crystal, symprec)
    # Elements of projectors are of order 1, and as wrong as the cell by which rotations are turned.
    tolerance = symprec / float(np.linalg.norm(crystal.lattice, axis=1).min())
    return Symmetry(group.number, group.symbol, _equal_directions(crystal.lattice, group, tolerance))


def _equal_directions(lattice: FloatArray, group: SpaceGroup, tolerance: float) -> NDArray[np.bool_]:
    """Where the diagonal of every symmetric tensor with the crystal's symmetry is equal.

    Such a tensor is its own average over the point group, so that eps_ii = <P_i, eps> with P_i the
    average of the projectors onto the images of direction i: eps_ii = eps_jj for all of them exactly
    when P_i = P_j.
    """
    columns = lattice.T
    cartesian = columns @ group.point_group @ np.linalg.inv(columns)
    projectors = np.einsum("nai,nbi->iab", cartesian, cartesian) / len(cartesian)
    distances = np.abs(projectors[:, None] - projectors[None]).max(axis=(2, 3))
    equal: NDArray[np.bool_] = distances < tolerance
    return equal


def filling(given: Collection[str], crystal: Crystal, symmetry: Symmetry, field: str) -> Filling:
    """Which given direction x, y and z take their spectra from.

    given: keys of the file, some of ``KEYS``, in ``field``

    Raises CrystalError where nothing makes a direction that is left out equal to one that is given.
    """
    if found := _filling(given, symmetry):
        return found
    try:
        looser = symmetry_of(crystal, _SYMPRECS[1])
    except CrystalError:
        looser = symmetry
    if found := _filling(given, looser):
        return found
    left_out = ", ".join(key for key in KEYS if key not in given)
    have = ", ".join(key for key in KEYS if key in given) or "none"
    raise CrystalError(
        f"field {field} has {have}, and in this cell ({symmetry.space_group}) they do not stand for "
        f"{left_out}",
        fix="Give all directions that differ, along the Cartesian axes of the cell in the file",
    )


def _filling(given: Collection[str], symmetry: Symmetry) -> Filling | None:
    here = [i for i, key in enumerate(KEYS) if key in given]
    sources: list[int] = []
    for direction in range(3):
        if direction in here:
            sources.append(direction)
        elif same := [i for i in here if symmetry.equal[direction, i]]:
            sources.append(same[0])
        else:
            return None
    return (sources[0], sources[1], sources[2])


def told(eps: NDArray[np.float32], symmetry: Symmetry) -> list[int]:
    """The directions that have to be written for the others to follow from them.

    eps: float32 ``(..., 3, n_energies)``; what is left out is equal to one that is told, to the last bit
         and by symmetry
    """
    kept: list[int] = []
    for direction in range(3):
        spectrum = eps[..., direction, :]
        first = next((i for i in kept if symmetry.equal[direction, i]), None)
        if first is None or not np.array_equal(spectrum, eps[..., first, :]):
            kept.append(direction)
    return kept
