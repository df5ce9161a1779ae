"""Along which Cartesian directions eps is equal by symmetry: what stands for what in the files; pure.

eps = R eps R^T for every rotation R of the crystal. One that takes x to y or -y makes eps_xx = eps_yy, and
one by a third of a turn about z does, too. A few dozen rotations are tried, whether they map the cell onto
itself: many times as fast as to find its whole space group, which is left for cells that lie otherwise.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.kpoints import space_group
from farm.spectrum import FloatArray

BoolArray = NDArray[np.bool_]

# In angstrom, as space groups are searched for everywhere in the farm.
SYMPREC = 0.01


def directions_made_equal(crystal: Crystal) -> BoolArray:
    """Which of x, y and z the rotations above make equal, shape ``(3, 3)``."""
    equal = np.eye(3, dtype=np.bool_)
    lattice, positions = crystal.lattice, np.array(crystal.frac_coords)
    tolerance = _tolerance(lattice, SYMPREC)
    rotations, pairs = _candidates()
    columns = lattice.T
    fractional = np.linalg.inv(columns) @ rotations @ columns
    whole = np.rint(fractional)
    fits = np.abs(fractional - whole).max(axis=(1, 2)) < tolerance
    same_species = np.array(crystal.species)[:, None] == np.array(crystal.species)
    for rotation, made_equal in zip(whole[fits], pairs[fits], strict=True):
        if (equal | ~made_equal).all():
            continue
        if _maps_onto_itself(rotation, positions, same_species, lattice):
            equal |= made_equal
            equal |= equal @ equal  # what is equal to the same is equal
    return equal


def directions_equal_in_group(crystal: Crystal, symprec: float = SYMPREC) -> BoolArray:
    """Which of x, y and z the whole space group makes equal, shape ``(3, 3)``.

    A symmetric tensor with the crystal's symmetry is its own average over the point group, so that
    eps_ii = <P_i, eps> with P_i the average of the projectors onto images of direction i: eps_ii = eps_jj
    for all of them exactly when P_i = P_j. Raises CrystalError when spglib finds no space group.
    """
    columns = crystal.lattice.T
    cartesian = columns @ space_group(crystal, symprec).point_group @ np.linalg.inv(columns)
    projectors = np.einsum("nai,nbi->iab", cartesian, cartesian) / len(cartesian)
    distances = np.abs(projectors[:, None] - projectors[None]).max(axis=(2, 3))
    equal: BoolArray = distances < _tolerance(crystal.lattice, symprec)
    return equal


def _tolerance(lattice: FloatArray, symprec: float) -> float:
    # Elements of rotations are of order 1, and as wrong as the cell is.
    return symprec / float(np.linalg.norm(lattice, axis=1).min())


@cache
def _candidates() -> tuple[FloatArray, BoolArray]:
    """Cartesian rotations ``(n, 3, 3)``, and which directions each makes equal ``(n, 3, 3)``."""
    rotations: list[FloatArray] = []
    pairs: list[BoolArray] = []
    # Those first that make all three equal.
    orders = sorted(permutations(range(3)), key=lambda order: sum(i == j for i, j in enumerate(order)))
    for order, signs in product(orders[:-1], product((1.0, -1.0), repeat=3)):
        rotation = np.zeros((3, 3))
        rotation[list(order), range(3)] = signs
        rotations.append(rotation)
        pairs.append(_linked([(i, j) for i, j in enumerate(order)]))
    cosine, sine = -0.5, np.sqrt(0.75)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        rotation = np.eye(3)
        rotation[np.ix_([first, second], [first, second])] = [[cosine, -sine], [sine, cosine]]
        rotations.append(rotation)
        pairs.append(_linked([(first, second)]))
    return np.array(rotations), np.array(pairs)


def _linked(pairs: list[tuple[int, int]]) -> BoolArray:
    linked = np.eye(3, dtype=np.bool_)
    for i, j in pairs:
        linked[i, j] = linked[j, i] = True
    return linked


def _maps_onto_itself(
    rotation: FloatArray, positions: FloatArray, same_species: BoolArray, lattice: FloatArray
) -> bool:
    """Whether a rotation with some translation takes every site to one of its species."""
    turned = positions @ rotation.T
    # A site of the rarest species: it can go to the fewest others.
    rarest = int(same_species.sum(axis=1).argmin())
    for target in np.flatnonzero(same_species[rarest]):
        moved = turned + (positions[target] - turned[rarest])
        differences = moved[:, None] - positions[None]
        distances = np.linalg.norm((differences - np.rint(differences)) @ lattice, axis=2)
        if ((distances < SYMPREC) & same_species).any(axis=1).all():
            return True
    return False
