"""Which directions of a file stand for those that it leaves out, and which may be left out; pure.

``xx`` alone is a cubic crystal, ``xx`` and ``zz`` one with its axis along z. That is not believed but
looked up: where a cell lies otherwise, other directions are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.interchange.equal_directions import (
    BoolArray,
    directions_equal_in_group,
    directions_made_equal,
)

# The names of the files for the diagonal of eps along Cartesian x, y, z.
KEYS = ("xx", "yy", "zz")

# For x, y, z the one of them whose spectrum it has.
Filling = tuple[int, int, int]

# Positions of six or eight digits are not always on their sites to a hundredth of an angstrom.
_LOOSE_SYMPREC = 0.1
_WAYS: tuple[Callable[[Crystal], BoolArray], ...] = (
    directions_made_equal,
    directions_equal_in_group,
    lambda crystal: directions_equal_in_group(crystal, _LOOSE_SYMPREC),
)


def filling(given: Collection[str], crystal: Crystal, field: str) -> Filling:
    """Which given direction x, y and z take their spectra from.

    given: keys of the file, some of ``KEYS``, in ``field``

    Raises CrystalError where nothing makes a direction that is left out equal to one that is given.
    """
    here = [i for i, key in enumerate(KEYS) if key in given]
    if len(here) == len(KEYS):
        return (0, 1, 2)
    for equal in _WAYS:
        try:
            if found := _filled(here, equal(crystal)):
                return found
        except CrystalError:  # at this tolerance no space group is found
            continue
    left_out = ", ".join(key for key in KEYS if key not in given)
    raise CrystalError(
        f"field {field} has {', '.join(KEYS[i] for i in here)}, and in this cell nothing makes {left_out} "
        f"equal to it",
        fix="Give all directions that differ, along the Cartesian axes of the cell in the file",
    )


def _filled(here: list[int], equal: BoolArray) -> Filling | None:
    sources = [next((i for i in here if equal[direction, i]), None) for direction in range(3)]
    x, y, z = (direction if direction in here else source for direction, source in enumerate(sources))
    return None if x is None or y is None or z is None else (x, y, z)


def told(eps: NDArray[np.float32], crystal: Crystal) -> list[int]:
    """The directions that have to be written for the others to follow from them.

    eps: float32 ``(..., 3, n_energies)``; what is left out is equal to one that is told, to the last bit
         and by symmetry
    """
    equal = directions_made_equal(crystal)
    kept: list[int] = []
    for direction in range(3):
        spectrum = eps[..., direction, :]
        first = next((i for i in kept if equal[direction, i]), None)
        if first is None or not np.array_equal(spectrum, eps[..., first, :]):
            kept.append(direction)
    return kept
