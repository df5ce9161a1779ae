"""How large a calculation is: the counts its cost and memory follow from. Pure; nothing is run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from farm.basis import count_fft_points, count_plane_waves, estimate_nbnd
from farm.compact_cell import compact_cell, skewness
from farm.crystal import Crystal
from farm.kpoints import count_inequivalent, grid_divisions
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons
from farm.standard_group import known_space_group, rotations_in
from farm.units import MRY_PER_RY

# The convergence ladder of the cutoff runs on a coarse grid.
_PROBE_KPPA = 150
# A grid that is doubled once has nine times the points of the first, both counted.
_DOUBLED_ONCE = 9

_NO_SHIFT = (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class JobSize:
    """Counts of a crystal under a protocol; those of k-points are inequivalent ones.

    n_filled, n_bands: filled bands, and all that the spectra take
    n_waves:           plane waves at a k-point
    n_grid:            points of the density's grid in the compact cell
    n_kpoints_scf:     of the ground state; n_kpoints_probe: of the ladder of its cutoff
    n_kpoints:         of the response
    n_g:               G vectors of the largest response block; 0: no local fields
    n_operations:      of the point group
    is_real:           there is a centre of inversion
    elongation:        longest over shortest edge of the compact cell
    """

    n_atoms: int
    n_electrons: int
    n_filled: int
    n_bands: int
    n_waves: float
    n_grid: float
    n_kpoints_scf: int
    n_kpoints_probe: int
    n_kpoints: int
    n_g: float
    n_operations: int
    is_real: bool
    elongation: float

    @property
    def giga_fft(self) -> float:
        """Operations of one Fourier transform on the density's grid, 1e9."""
        return self.n_grid * math.log2(self.n_grid) * 1e-9

    @property
    def features(self) -> tuple[float, ...]:
        """What a cost model learns from: logarithms, near 0 for a typical crystal of three atoms."""
        return (
            math.log(self.n_filled / 10),
            math.log(self.n_waves / 2000),
            math.log(self.n_kpoints_scf / 20),
            math.log(self.n_kpoints / 100),
            0.5 if self.is_real else -0.5,
            math.log(self.n_atoms / 3),
            math.log(self.n_operations / 8),
            math.log(self.elongation),
        )


def count_size(crystal: Crystal, protocol: Protocol) -> JobSize:
    """Count. Raises CrystalError for an element without a pseudopotential or a cell without a group."""
    n_electrons = count_electrons(crystal)
    volume = crystal.volume_angstrom3
    compact = compact_cell(crystal)
    cell = compact.crystal
    group = known_space_group(crystal)
    rotations = group.point_group
    turned = rotations_in(compact.basis, rotations)
    scf = grid_divisions(cell, protocol.ground_state_kppa, even=False)
    probe = grid_divisions(cell, min(_PROBE_KPPA, protocol.ground_state_kppa), even=False)
    response = grid_divisions(crystal, protocol.response_kppa, even=True)
    n_kpoints = count_inequivalent(response, protocol.response_kshift, rotations)
    edges = np.linalg.norm(cell.lattice, axis=1)
    return JobSize(
        n_atoms=crystal.n_atoms,
        n_electrons=n_electrons,
        n_filled=max(1, n_electrons // 2),
        n_bands=estimate_nbnd(n_electrons, volume, protocol.energy_window_ev),
        n_waves=count_plane_waves(volume, protocol.ecutwfc_ry),
        # Edges that are longer than the volume asks for cost grid points.
        n_grid=count_fft_points(volume, protocol.ecutwfc_ry * protocol.ecutrho_per_ecutwfc)
        * skewness(cell),
        n_kpoints_scf=count_inequivalent(scf, _NO_SHIFT, turned),
        n_kpoints_probe=count_inequivalent(probe, _NO_SHIFT, turned),
        n_kpoints=n_kpoints * (_DOUBLED_ONCE if protocol.kgrid == "converged" else 1),
        n_g=count_plane_waves(volume, protocol.gmax_max_mry / MRY_PER_RY),
        n_operations=len(rotations),
        is_real=group.inversions.size > 0,
        elongation=float(edges.max() / edges.min()),
    )
