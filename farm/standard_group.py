"""The space group of a crystal without searching for it, where it was found when the crystal was made.

spglib takes 2 ms for a small cell. Operations follow from the number of the group in a table, and those in
another cell of the lattice from these.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np

from farm.crystal import Crystal
from farm.kpoints import IntArray, SpaceGroup, space_group
from farm.standard_cell import centring

# All settings of all space groups.
_N_SETTINGS = 530


def known_space_group(crystal: Crystal) -> SpaceGroup:
    """The space group by ``hall_number``, else by a search. Raises CrystalError when spglib finds none.

    That of the structure that was read: where the idealised cell has more symmetry (3 in 1000 of
    Alexandria, at the edge of the tolerance), :func:`farm.kpoints.space_group` finds more.
    """
    if crystal.hall_number is None:
        return _searched_group(crystal)
    return standard_group(crystal.hall_number)


@lru_cache(maxsize=_N_SETTINGS)
def standard_group(hall_number: int) -> SpaceGroup:
    """The operations of a setting in its standard primitive cell, each once."""
    import spglib

    with warnings.catch_warnings():
        # It announces a change of its errors at every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        kind = spglib.get_spacegroup_type(hall_number)
        operations = spglib.get_symmetry_from_database(hall_number)
    if kind is None or operations is None:
        raise ValueError(f"{hall_number} is no Hall number")
    matrix = centring(kind.international_short)
    back = np.linalg.inv(matrix)
    rotations = np.rint(back @ operations["rotations"] @ matrix).astype(np.int64)
    # The table lists an operation once for each centring translation, and these fall together.
    _, first = np.unique(rotations, axis=0, return_index=True)
    first.sort()
    return SpaceGroup(
        number=int(kind.number),
        symbol=str(kind.international_short),
        rotations=rotations[first],
        translations=(operations["translations"][first] @ back.T) % 1.0,
    )


@lru_cache(maxsize=64)
def _searched_group(crystal: Crystal) -> SpaceGroup:
    return space_group(crystal)


def rotations_in(basis: IntArray, rotations: IntArray) -> IntArray:
    """Rotations on fractional positions of the cell with vectors ``basis @ lattice``, same shape."""
    back = np.rint(np.linalg.inv(basis)).astype(np.int64)
    turned: IntArray = back.T @ rotations @ basis.T
    return turned
