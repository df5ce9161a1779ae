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
from farm.compact_cell import compact_cell, skewness
from farm.crystal import Crystal
from farm.job import Stage
from farm.kpoints import grid_divisions, reduce_kpoints, shifted_grid, space_group
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons
from farm.units import MRY_PER_RY

# Seconds per 1e9 units of work, and seconds of start-up, fitted by non-negative least squares of relative
# errors to the stages of materials that were computed on one core (benchmarks/cost_model.py prints how
# well): the bands by nscf to the bundled crystals, those in a reduced basis to 273 materials of Alexandria
# at 600 k-points per reciprocal atom, ground state and response to these and 103 at 1500.
_SCF_S_PER_GIGA_FFT = 32.0
_SCF_SETUP_S_PER_GIGA_FFT = 330.0
_SCF_S_PER_GIGA_SUBSPACE = 260.0
_NSCF_S_PER_GIGA_FFT = 13.7
_NSCF_S_PER_GIGA_SUBSPACE = 37.0
_REDUCED_START_S = 1.17
# Of complex matrices, and of the real ones of crystals with a centre of inversion.
_REDUCED_S_PER_GIGA_FFT = {False: 21.9, True: 7.1}
_REDUCED_S_PER_GIGA_CUBE = {False: 183.0, True: 127.0}
_REDUCED_S_PER_GIGA_WAVE = {False: 86.0, True: 0.0}
_RESPONSE_START_S = 1.0
_RESPONSE_S_PER_GIGA_WAVE = 51.0
_RESPONSE_S_PER_GIGA_PAIR_DENSITY = 0.52
_RESPONSE_S_PER_GIGA_OUTER = 0.31

# The convergence ladder: cutoffs on a coarse grid, most often two, together so many runs; then the ground
# state from their density.
_PROBE_KPPA = 150
_PROBE_RUNS = 1.3
_SHARE_FROM_DENSITY = 0.8
# Where there are no bands in a reduced basis to tell, one run on the next k-grid, which has more points.
_NEXT_GRID_RUNS = 0.75
# Eigenvalues alone, on the ground state's k-grid and the next, cost this share of a solution.
_ENERGIES_SHARE = 0.6 * 2.3

# A grid that is doubled once has nine times the points of the first, both counted.
_DOUBLED_ONCE = 9


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
    cell = compact_cell(crystal).crystal
    volume = crystal.volume_angstrom3
    size = _Size(
        n_filled=max(1, n_electrons // 2),
        n_bands=estimate_nbnd(n_electrons, volume, protocol.energy_window_ev),
        n_waves=count_plane_waves(volume, protocol.ecutwfc_ry),
        # Edges that are longer than the volume asks for cost grid points.
        n_grid=count_fft_points(volume, protocol.ecutwfc_ry * protocol.ecutrho_per_ecutwfc)
        * skewness(cell),
        n_kpoints_scf=_count_irreducible(
            grid_divisions(cell, protocol.ground_state_kppa, even=False), space_group(cell).point_group
        ),
        n_kpoints_probe=_count_irreducible(
            grid_divisions(cell, min(_PROBE_KPPA, protocol.ground_state_kppa), even=False),
            space_group(cell).point_group,
        ),
        n_kpoints=_count_response_kpoints(crystal, protocol),
        n_g=count_plane_waves(volume, protocol.gmax_max_mry / MRY_PER_RY),
        is_real=space_group(crystal).inversions.size > 0,
    )
    return CostEstimate(
        cpu_s={
            Stage.GROUND_STATE: _ground_state_s(size, protocol),
            Stage.BANDS: _nscf_s(size) if protocol.bands == "nscf" else _reduced_basis_s(size, protocol),
            Stage.RESPONSE: _response_s(size),
        },
        n_electrons=n_electrons,
        n_bands=size.n_bands,
        n_plane_waves=round(size.n_waves),
        n_kpoints_scf=size.n_kpoints_scf,
        n_kpoints_bands=size.n_kpoints,
    )


@dataclass(frozen=True, kw_only=True)
class _Size:
    """Counts that the work follows from; those of k-points are inequivalent ones.

    is_real: there is a centre of inversion
    """

    n_filled: int
    n_bands: int
    n_waves: float
    n_grid: float
    n_kpoints_scf: int
    n_kpoints_probe: int
    n_kpoints: int
    n_g: float
    is_real: bool

    @property
    def giga_fft(self) -> float:
        """Operations of one Fourier transform on the potential's grid, 1e9."""
        return self.n_grid * math.log2(self.n_grid) * 1e-9


def _ground_state_s(size: _Size, protocol: Protocol) -> float:
    subspace = size.n_filled**2 * size.n_waves * 1e-9
    per_kpoint = _SCF_S_PER_GIGA_FFT * size.n_filled * size.giga_fft + _SCF_S_PER_GIGA_SUBSPACE * subspace
    set_up = _SCF_SETUP_S_PER_GIGA_FFT * size.giga_fft
    alone = size.n_kpoints_scf * per_kpoint + set_up
    if protocol.energy_tolerance_kcal_mol is None:
        return alone
    next_grid = _NEXT_GRID_RUNS if protocol.bands == "nscf" else 0.0
    probes = _PROBE_RUNS * (size.n_kpoints_probe * per_kpoint + set_up)
    return (_SHARE_FROM_DENSITY + next_grid) * alone + probes


def _nscf_s(size: _Size) -> float:
    per_band = _NSCF_S_PER_GIGA_FFT * size.giga_fft + (
        _NSCF_S_PER_GIGA_SUBSPACE * size.n_bands * size.n_waves * 1e-9
    )
    return size.n_kpoints * size.n_bands * per_band


def _reduced_basis_s(size: _Size, protocol: Protocol) -> float:
    # The basis has about five functions a band: the eigenproblem goes with the cube of the bands.
    cube = size.n_bands**3 * 1e-9
    waves = size.n_bands * size.n_waves * 1e-9
    n_kpoints = float(size.n_kpoints + protocol.band_path_points)
    if protocol.energy_tolerance_kcal_mol is not None:
        n_kpoints += _ENERGIES_SHARE * size.n_kpoints_scf
    per_kpoint = (
        _REDUCED_S_PER_GIGA_CUBE[size.is_real] * cube + _REDUCED_S_PER_GIGA_WAVE[size.is_real] * waves
    )
    samples = _REDUCED_S_PER_GIGA_FFT[size.is_real] * size.n_bands * size.giga_fft
    return _REDUCED_START_S + samples + n_kpoints * per_kpoint


def _response_s(size: _Size) -> float:
    pairs = size.n_filled * (size.n_bands - size.n_filled) * 1e-9
    per_kpoint = _RESPONSE_S_PER_GIGA_WAVE * size.n_bands * size.n_waves * 1e-9 + pairs * (
        _RESPONSE_S_PER_GIGA_PAIR_DENSITY * size.n_grid + _RESPONSE_S_PER_GIGA_OUTER * size.n_g**2
    )
    return _RESPONSE_START_S + size.n_kpoints * per_kpoint


def _count_response_kpoints(crystal: Crystal, protocol: Protocol) -> int:
    grid = shifted_grid(
        grid_divisions(crystal, protocol.response_kppa, even=True), protocol.response_kshift
    )
    n_kpoints = len(reduce_kpoints(grid, space_group(crystal).point_group)[0])
    return n_kpoints * (_DOUBLED_ONCE if protocol.kgrid == "converged" else 1)


def _count_irreducible(divisions: tuple[int, int, int], rotations: np.ndarray) -> int:
    return len(reduce_kpoints(shifted_grid(divisions, (0.0, 0.0, 0.0)), rotations)[0])
