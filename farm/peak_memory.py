"""Peak memory of the stages, MB: arrays that the programs hold, each times a measured number of copies.

Fitted by non-negative least squares of relative errors to the largest resident size of each stage: ground
state and reduced basis to 541 materials of Alexandria (60 Ry, 600 and 1500 k-points per reciprocal atom)
and the bundled crystals (40 Ry), bands by nscf and their response to these alone; the largest took 720 MB.
`benchmarks/cost_model.py` prints how well. The estimate for YAMBO is that of its workers, which compared
it with 24 of its runs.
"""

from __future__ import annotations

import math

from farm.job_size import JobSize
from farm.protocol import Protocol
from farm.stage import Stage

# Of complex numbers in double precision.
_MB_A_NUMBER = 16 / 2**20

# pw.x: itself, copies of the density's grid, of the bands at one k-point, and of those at all of them.
_PW_BASE_MB, _PW_GRIDS = 29.0, 25.0
_SCF_BANDS, _SCF_ALL_BANDS = 10.6, 1.17
_NSCF_BANDS, _NSCF_ALL_BANDS = 4.0, 1.02
# Our own process: itself, the basis (about five functions a band; the larger the less symmetry folds the
# zone), coefficients at every k-point, and copies of the spectral matrices.
_REDUCED_BASE_MB, _REDUCED_BASIS, _REDUCED_COEFFICIENTS, _SPECTRAL = 118.0, 47.0, 2.7, 4.7
_RESPONSE_BASE_MB, _RESPONSE_SPECTRAL = 63.0, 6.6
# The solver keeps its matrices below this (workers.rpa: single precision where double does not fit).
_MATRICES_LIMIT_MB = 4000.0
# Nodes of the transition energy are an eighth of the damping apart; some lie beyond the last energy.
_NODES_PER_DAMPING, _MARGIN_DAMPINGS = 8, 8


def peak_memory_mb(size: JobSize, protocol: Protocol) -> dict[Stage, float]:
    """Of each stage, with our own solver; bands and response in a reduced basis are one process."""
    pw_mb = _PW_BASE_MB + _PW_GRIDS * size.n_grid * _MB_A_NUMBER
    filled_mb = size.n_filled * size.n_waves * _MB_A_NUMBER
    ground_state = pw_mb + (_SCF_BANDS + _SCF_ALL_BANDS * size.n_kpoints_scf) * filled_mb
    spectral_mb = _spectral_mb(size, protocol)
    bands_waves_mb = size.n_bands * size.n_waves * _MB_A_NUMBER
    if protocol.bands == "nscf":
        bands = pw_mb + (_NSCF_BANDS + _NSCF_ALL_BANDS * size.n_kpoints) * bands_waves_mb
        response = _RESPONSE_BASE_MB + min(_RESPONSE_SPECTRAL * spectral_mb, _MATRICES_LIMIT_MB)
    else:
        n_parts = 1 if size.is_real else 2
        basis = _REDUCED_BASIS * bands_waves_mb / math.sqrt(size.n_operations)
        coefficients = _REDUCED_COEFFICIENTS * size.n_bands**2 * size.n_kpoints * _MB_A_NUMBER
        matrices = min(_SPECTRAL * spectral_mb, _MATRICES_LIMIT_MB)
        bands = response = _REDUCED_BASE_MB + n_parts * (basis + coefficients) + matrices
    return {Stage.GROUND_STATE: ground_state, Stage.BANDS: bands, Stage.RESPONSE: response}


def _spectral_mb(size: JobSize, protocol: Protocol) -> float:
    """Half of a Hermitian matrix at every node; symmetry divides it into independent ones."""
    n_nodes = _NODES_PER_DAMPING * (protocol.energy_max_ev / protocol.damping_ev + _MARGIN_DAMPINGS)
    return n_nodes * size.n_g**2 / 2 * 8 / 2**20 / size.n_operations
