"""The most compact cell of a crystal's lattice: the same crystal in the same orientation, at less cost.

Fourier grids hold as many points as the product of the cell's edges asks for, not as its volume does. The
standard primitive cell of a long body-centred tetragonal crystal has three long edges, 4 times the
points it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from farm.crystal import Crystal
from farm.kpoints import FloatArray, IntArray

# A cell that saves less than this is left as it is.
_WORTHWHILE = 0.99


@dataclass(frozen=True, eq=False)
class CompactCell:
    """A crystal in another cell of its lattice.

    crystal: with the new cell, all else the same
    basis:   rows are the new cell vectors in units of the old ones, integers, determinant 1
    """

    crystal: Crystal
    basis: IntArray

    def kpoints(self, kpoints: FloatArray) -> FloatArray:
        """Crystal coordinates of the old cell in those of the new one, shape ``(n_k, 3)``."""
        transformed: FloatArray = kpoints @ self.basis.T
        return transformed

    def kpoints_back(self, kpoints: FloatArray) -> FloatArray:
        """Crystal coordinates of the new cell in those of the old one, shape ``(n_k, 3)``."""
        transformed: FloatArray = kpoints @ np.linalg.inv(self.basis.T)
        return transformed


@lru_cache(maxsize=64)
def compact_cell(crystal: Crystal) -> CompactCell:
    """The cell by the reduction of Lenstra, Lenstra and Lovasz, where that has shorter edges."""
    from pymatgen.core import Lattice

    reduced = Lattice(crystal.lattice).get_lll_reduced_lattice().matrix
    basis = np.rint(reduced @ np.linalg.inv(crystal.lattice)).astype(np.int64)
    if np.linalg.det(basis) < 0:
        basis = -basis
    if _edges(basis @ crystal.lattice) > _WORTHWHILE * _edges(crystal.lattice):
        basis = np.eye(3, dtype=np.int64)
    return cell_of_basis(crystal, basis)


def cell_of_basis(crystal: Crystal, basis: IntArray) -> CompactCell:
    """The crystal in the cell whose vectors are the rows of ``basis``, in units of its own."""
    if np.array_equal(basis, np.eye(3)):
        return CompactCell(crystal, basis)
    lattice = basis @ crystal.lattice
    positions = np.array(crystal.frac_coords) @ np.linalg.inv(basis)
    return CompactCell(
        replace(
            crystal,
            lattice_angstrom=tuple((float(x), float(y), float(z)) for x, y, z in lattice),
            frac_coords=tuple((float(x), float(y), float(z)) for x, y, z in positions % 1.0),
        ),
        basis,
    )


def skewness(crystal: Crystal) -> float:
    """Product of the cell's edges over its volume: 1 for right angles, more for any other cell."""
    return _edges(crystal.lattice) / crystal.volume_angstrom3


def _edges(lattice: FloatArray) -> float:
    return float(np.prod(np.linalg.norm(lattice, axis=1)))
