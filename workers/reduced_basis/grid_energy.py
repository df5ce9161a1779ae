"""How the total energy changes from one k-grid to another, from the bands alone.

At a given density the Kohn-Sham energy depends on the k-points through the sum of the filled bands; what
the density's own change adds is of second order (Harris, Phys. Rev. B 31, 1770 (1985); Foulkes and
Haydock, Phys. Rev. B 39, 12520 (1989)). So the bands of a converged ground state tell what a
self-consistent run on another grid would come to.
"""

from __future__ import annotations

import numpy as np

from farm.kpoints import FloatArray, IntArray, reduce_kpoints, shifted_grid
from farm.units import HARTREE_EV
from workers.reduced_basis.basis import ReducedBasis
from workers.reduced_basis.wedge import fold_into_wedge

_SPINS = 2


def energy_change_ev(
    basis: ReducedBasis,
    grids: tuple[tuple[int, int, int], tuple[int, int, int]],
    reciprocal: FloatArray,
    rotations: IntArray,
    n_valence: int,
) -> float:
    """Energy of the cell on the second of two grids through Gamma, less that on the first, eV."""
    first, second = (
        _band_energy(basis, divisions, reciprocal, rotations, n_valence) for divisions in grids
    )
    return (second - first) * HARTREE_EV


def _band_energy(
    basis: ReducedBasis,
    divisions: tuple[int, int, int],
    reciprocal: FloatArray,
    rotations: IntArray,
    n_valence: int,
) -> float:
    """Sum of the filled bands, averaged over the grid, hartree."""
    kpoints, multiplicity = reduce_kpoints(shifted_grid(divisions, (0.0, 0.0, 0.0)), rotations)
    folded = fold_into_wedge(kpoints, reciprocal, rotations)
    sums = [basis.energies(kpoint, n_valence)[:n_valence].sum() for kpoint in folded]
    return float(_SPINS * np.average(sums, weights=multiplicity))
