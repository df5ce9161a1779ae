"""Predicted CPU seconds of a job whose response YAMBO computes.

Ground state and bands as :mod:`farm.cost` has them, the bands at every point of the grid and its images;
the response as two rungs along each inequivalent direction, fitted by non-negative least squares of
relative errors to 16 runs on nine crystals (YAMBO 5.2.4, one rank): 0.5 to 1.4 times the measured seconds.
"""

from __future__ import annotations

from math import prod

import numpy as np

from farm.basis import count_plane_waves
from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.job import Stage
from farm.kpoints import IntArray, SpaceGroup, grid_divisions, space_group
from farm.protocol import Protocol
from farm.units import MRY_PER_RY

# Seconds per 1e9 of: transitions in the whole zone times plane waves (their Fourier transforms),
# transitions of the listed points times energies times squared G vectors (the response), waves of all
# bands (the dipoles).
_S_PER_GIGA_PAIR_WAVE = 8.6
_S_PER_GIGA_OUTER = 0.52
_S_PER_GIGA_WAVE = 560.0
# p2y, and start and set-up of each run.
_START_S = 2.0
_RUNGS = (1, 2)
# Blocks are rounded up to whole shells, which counts most for small cells.
_SHELL_FACTOR = 1.8

_SHIFT_TOLERANCE = 1e-4
_FIRST_CUBIC, _FIRST_UNIAXIAL = 195, 75


def predict_yambo_cpu_s(crystal: Crystal, protocol: Protocol) -> float:
    """Predicted seconds over all stages. Raises CrystalError for an element without a pseudopotential."""
    native = predict_cost(crystal, protocol)
    group = space_group(crystal)
    n_listed = prod(grid_divisions(crystal, protocol.response_kppa, even=True)) * _cosets(group)
    n_zone = n_listed * len(_with_inversion(group.point_group)) / _cosets(group)
    n_filled = max(1, native.n_electrons // 2)
    pairs = n_filled * (native.n_bands - n_filled) * 1e-9
    waves = native.n_plane_waves
    response_s = _START_S
    for rung in _RUNGS:
        gmax_ry = rung * protocol.gmax_step_mry / MRY_PER_RY
        n_g = _SHELL_FACTOR * count_plane_waves(crystal.volume_angstrom3, gmax_ry)
        outer = n_listed * pairs * protocol.n_energies * n_g**2
        response_s += _directions(group) * (
            _START_S + _S_PER_GIGA_PAIR_WAVE * n_zone * pairs * waves + _S_PER_GIGA_OUTER * outer
        )
    response_s += _S_PER_GIGA_WAVE * n_listed * native.n_bands * waves * 1e-9
    bands_s = native.cpu_s[Stage.BANDS] * n_listed / native.n_kpoints_bands
    return native.cpu_s[Stage.GROUND_STATE] + bands_s + response_s


def _cosets(group: SpaceGroup) -> float:
    """How many times as many operations there are, with time reversal, as YAMBO knows."""
    shifts = group.translations - np.rint(group.translations)
    known = group.rotations[np.abs(shifts).max(axis=1) < _SHIFT_TOLERANCE]
    return len(_with_inversion(group.point_group)) / len(_with_inversion(known))


def _with_inversion(rotations: IntArray) -> IntArray:
    return np.unique(np.concatenate([rotations, -rotations]), axis=0)


def _directions(group: SpaceGroup) -> int:
    if group.number >= _FIRST_CUBIC:
        return 1
    return 2 if group.number >= _FIRST_UNIAXIAL else 3
