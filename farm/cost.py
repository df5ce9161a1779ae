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

# Rates in seconds per 1e9 units of work and seconds of start-up, fitted to the bundled crystals
# under the demo protocol on one core (benchmarks/cost_model.py); the order survives other machines.
_GROUND_STATE_S_PER_GIGA = 1.0
_BANDS_S_PER_GIGA = 1.0
_RESPONSE_S_PER_GIGA = 1.0
_START_UP_S = {Stage.GROUND_STATE: 0.5, Stage.BANDS: 0.5, Stage.RESPONSE: 0.5}

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
    n_bands_k = len(reduce_kpoints(grid, rotations)[0])

    hamiltonian = n_fft * math.log2(n_fft)
    scf_work = n_scf * n_occupied * (hamiltonian + n_occupied * n_plane_waves)
    bands_work = n_bands_k * n_bands * (hamiltonian + n_bands * n_plane_waves)
    pairs = n_occupied * (n_bands - n_occupied)
    n_g = max(1.0, count_plane_waves(volume, protocol.gmax_max_mry / 1000))
    response_work = n_bands_k * pairs * (n_fft / 8 + n_g * n_g)
    runs = 1 if protocol.energy_tolerance_kcal_mol is None else _LADDER_RUNS
    work = {
        Stage.GROUND_STATE: runs * scf_work * 1e-9 * _GROUND_STATE_S_PER_GIGA,
        Stage.BANDS: bands_work * 1e-9 * _BANDS_S_PER_GIGA,
        Stage.RESPONSE: response_work * 1e-9 * _RESPONSE_S_PER_GIGA,
    }
    return CostEstimate(
        cpu_s={stage: _START_UP_S[stage] + seconds for stage, seconds in work.items()},
        n_electrons=n_electrons,
        n_bands=n_bands,
        n_plane_waves=round(n_plane_waves),
        n_kpoints_scf=n_scf,
        n_kpoints_bands=n_bands_k,
    )


def _count_irreducible(divisions: tuple[int, int, int], rotations: np.ndarray) -> int:
    return len(reduce_kpoints(shifted_grid(divisions, (0.0, 0.0, 0.0)), rotations)[0])
