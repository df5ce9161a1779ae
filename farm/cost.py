"""Predicted CPU seconds of a job, by stage; the order of the backlog.

A physical estimate: floating-point work of the dominant kernels (FFTs of H psi, subspace algebra,
pair densities, the response sum) times one measured rate a stage. What matters is the order of
materials, less the absolute value. All counts follow from the structure, the protocol and the
valence charges; nothing is run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from farm.basis import count_fft_points, count_plane_waves, estimate_nbnd
from farm.crystal import Crystal
from farm.job import Stage
from farm.kpoints import grid_divisions, reduce_kpoints, shifted_grid, space_group
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons
from farm.units import MRY_PER_RY

# Seconds per 1e9 units of work, and seconds of start-up, fitted by non-negative least squares of relative
# errors to the stages of the bundled crystals on one core, the bands without Si, whose ran twice
# (benchmarks/cost_model.py prints how well).
_SCF_S_PER_GIGA_FFT = 54.0
_SCF_SETUP_S_PER_GIGA_FFT = 1060.0
_BANDS_S_PER_GIGA_FFT = 13.7
_BANDS_S_PER_GIGA_SUBSPACE = 37.0
_RESPONSE_START_S = 0.35
_RESPONSE_S_PER_GIGA_FFT = 0.49
_RESPONSE_S_PER_GIGA_PAIR_DENSITY = 0.66
_RESPONSE_S_PER_GIGA_OUTER = 0.55

# The published convergence ladder reruns the ground state at two or three cutoffs and two grids.
_LADDER_RUNS = 5


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Predicted CPU seconds and the counts they follow from.

    cpu_s:           per stage, user + system seconds on one core
    n_kpoints_scf:   irreducible k-points of the ground state
    n_kpoints_bands: k-points of the response grid left after symmetry
    """

    cpu_s: dict[Stage, float]
    n_electrons: int
    n_bands: int
    n_plane_waves: int
    n_kpoints_scf: int
    n_kpoints_bands: int

    @property
    def total_cpu_s(self) -> float:
        """Over all stages."""
        return sum(self.cpu_s.values())


def predict_cost(crystal: Crystal, protocol: Protocol) -> CostEstimate:
    """Predict what a job costs. Raises CrystalError for an element without a pseudopotential."""
    n_electrons = count_electrons(crystal)
    volume = crystal.volume_angstrom3
    n_occupied = max(1, n_electrons // 2)
    n_bands = estimate_nbnd(n_electrons, volume, protocol.energy_window_ev)
    n_plane_waves = count_plane_waves(volume, protocol.ecutwfc_ry)
    n_fft = count_fft_points(volume, protocol.ecutwfc_ry * protocol.ecutrho_per_ecutwfc)
    rotations = space_group(crystal).point_group
    n_scf = _count_irreducible(grid_divisions(crystal, protocol.ground_state_kppa, even=False), rotations)
    grid = shifted_grid(
        grid_divisions(crystal, protocol.response_kppa, even=True), protocol.response_kshift
    )
    n_kpoints = len(reduce_kpoints(grid, rotations)[0])

    runs = 1 if protocol.energy_tolerance_kcal_mol is None else _LADDER_RUNS
    fft = n_fft * math.log2(n_fft) * 1e-9
    subspace = n_plane_waves * 1e-9
    pairs = n_kpoints * n_occupied * (n_bands - n_occupied) * 1e-9
    n_g = count_plane_waves(volume, protocol.gmax_max_mry / MRY_PER_RY)
    cpu_s = {
        Stage.GROUND_STATE: runs
        * fft
        * (_SCF_S_PER_GIGA_FFT * n_scf * n_occupied + _SCF_SETUP_S_PER_GIGA_FFT),
        Stage.BANDS: n_kpoints
        * n_bands
        * (_BANDS_S_PER_GIGA_FFT * fft + _BANDS_S_PER_GIGA_SUBSPACE * n_bands * subspace),
        Stage.RESPONSE: _RESPONSE_START_S
        + _RESPONSE_S_PER_GIGA_FFT * n_kpoints * n_bands * fft
        + pairs * (_RESPONSE_S_PER_GIGA_PAIR_DENSITY * n_fft + _RESPONSE_S_PER_GIGA_OUTER * n_g**2),
    }
    return CostEstimate(
        cpu_s=cpu_s,
        n_electrons=n_electrons,
        n_bands=n_bands,
        n_plane_waves=round(n_plane_waves),
        n_kpoints_scf=n_scf,
        n_kpoints_bands=n_kpoints,
    )


def _count_irreducible(divisions: tuple[int, int, int], rotations: np.ndarray) -> int:
    return len(reduce_kpoints(shifted_grid(divisions, (0.0, 0.0, 0.0)), rotations)[0])
