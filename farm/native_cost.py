"""CPU seconds of the stages with our own solver: floating-point work times one measured rate a kernel.

The dominant kernels are the Fourier transforms of H psi, the subspace algebra, pair densities and the
response sum; set-up goes with the grid. What matters is the order of materials, less the absolute value,
which measurements correct (farm/cost_model.py).
"""

from __future__ import annotations

from farm.job_size import JobSize
from farm.protocol import Protocol

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
_PROBE_RUNS = 1.3
_SHARE_FROM_DENSITY = 0.8
# Where there are no bands in a reduced basis to tell, one run on the next k-grid, which has more points.
_NEXT_GRID_RUNS = 0.75
# Eigenvalues alone, on the ground state's k-grid and the next, cost this share of a solution.
_ENERGIES_SHARE = 0.6 * 2.3


def ground_state_s(size: JobSize, protocol: Protocol) -> float:
    """The ladder of the cutoff and the last scf run."""
    subspace = size.n_filled**2 * size.n_waves * 1e-9
    per_kpoint = _SCF_S_PER_GIGA_FFT * size.n_filled * size.giga_fft + _SCF_S_PER_GIGA_SUBSPACE * subspace
    set_up = _SCF_SETUP_S_PER_GIGA_FFT * size.giga_fft
    alone = size.n_kpoints_scf * per_kpoint + set_up
    if protocol.energy_tolerance_kcal_mol is None:
        return alone
    next_grid = _NEXT_GRID_RUNS if protocol.bands == "nscf" else 0.0
    probes = _PROBE_RUNS * (size.n_kpoints_probe * per_kpoint + set_up)
    return (_SHARE_FROM_DENSITY + next_grid) * alone + probes


def bands_s(size: JobSize, protocol: Protocol) -> float:
    """The bands at the k-points of the response."""
    return _nscf_s(size) if protocol.bands == "nscf" else _reduced_basis_s(size, protocol)


def _nscf_s(size: JobSize) -> float:
    per_band = _NSCF_S_PER_GIGA_FFT * size.giga_fft + (
        _NSCF_S_PER_GIGA_SUBSPACE * size.n_bands * size.n_waves * 1e-9
    )
    return size.n_kpoints * size.n_bands * per_band


def _reduced_basis_s(size: JobSize, protocol: Protocol) -> float:
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


def response_s(size: JobSize) -> float:
    """The response on all rungs of its ladder, which cost one; without local fields no pair densities."""
    per_kpoint = _RESPONSE_S_PER_GIGA_WAVE * size.n_bands * size.n_waves * 1e-9
    if size.n_g:
        pairs = size.n_filled * (size.n_bands - size.n_filled) * 1e-9
        per_kpoint += pairs * (
            _RESPONSE_S_PER_GIGA_PAIR_DENSITY * size.n_grid + _RESPONSE_S_PER_GIGA_OUTER * size.n_g**2
        )
    return _RESPONSE_START_S + size.n_kpoints * per_kpoint
