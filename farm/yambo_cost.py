"""CPU seconds and memory of a job whose response YAMBO computes.

Ground state as :mod:`farm.native_cost` has it, the bands at every point of the grid and its images; the
response as two rungs along each inequivalent direction, fitted by non-negative least squares of relative
errors to 16 runs on nine crystals (YAMBO 5.2.4, one rank): 0.5 to 1.4 times the measured seconds. Memory as
its workers estimate it, 0.9 to 1.3 times that of 24 runs. Without local fields it is one run along each
direction, which takes the dipoles alone: 11 such runs measured 0.35 to 1.2 times the estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import numpy as np

from farm.basis import count_plane_waves
from farm.crystal import Crystal
from farm.job_size import JobSize
from farm.kpoints import IntArray, SpaceGroup, grid_divisions
from farm.native_cost import bands_s, ground_state_s
from farm.peak_memory import peak_memory_mb
from farm.protocol import Protocol
from farm.stage import Stage
from farm.standard_group import known_space_group
from farm.units import BOHR_ANGSTROM, MRY_PER_RY

# Seconds per 1e9 of: transitions in the whole zone times plane waves (their Fourier transforms),
# transitions of the listed points times energies times squared G vectors (the response), waves of all
# bands (the dipoles).
_S_PER_GIGA_PAIR_WAVE = 8.6
_S_PER_GIGA_OUTER = 0.52
_S_PER_GIGA_WAVE = 560.0
# p2y, and start and set-up of each run.
_START_S = 2.0
_RUNGS, _IPA_RUNGS = (1, 2), (0,)
# Blocks are rounded up to whole shells, which counts most for small cells.
_SHELL_FACTOR = 1.8

# Complex numbers in single precision: the program itself, the block of every frequency twice, and the
# wavefunctions in plane waves and on the mesh.
_BASE_MB = 240.0
_BLOCK_COPIES = 2
_MB_A_NUMBER = 8 / 2**20

_SHIFT_TOLERANCE = 1e-4
_FIRST_CUBIC, _FIRST_UNIAXIAL = 195, 75


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """k-points YAMBO knows by its own symmetries: those listed, and all of the zone; directions to run."""

    n_listed: float
    n_zone: float
    n_directions: int


def yambo_cpu_s(crystal: Crystal, size: JobSize, protocol: Protocol) -> dict[Stage, float]:
    """Seconds by stage."""
    lists = _count(crystal, protocol)
    pairs = size.n_filled * (size.n_bands - size.n_filled) * 1e-9
    response_s = _START_S
    for rung in _rungs(protocol):
        run_s = _START_S
        if rung:
            outer = lists.n_listed * pairs * protocol.n_energies * _block(crystal, protocol, rung) ** 2
            run_s += _S_PER_GIGA_PAIR_WAVE * lists.n_zone * pairs * size.n_waves
            run_s += _S_PER_GIGA_OUTER * outer
        response_s += lists.n_directions * run_s
    response_s += _S_PER_GIGA_WAVE * lists.n_listed * size.n_bands * size.n_waves * 1e-9
    return {
        Stage.GROUND_STATE: ground_state_s(size, protocol),
        Stage.BANDS: bands_s(size, protocol) * lists.n_listed / size.n_kpoints,
        Stage.RESPONSE: response_s,
    }


def yambo_memory_mb(crystal: Crystal, size: JobSize, protocol: Protocol) -> dict[Stage, float]:
    """Peak of each stage in MB, on one rank."""
    n_listed = _count(crystal, protocol).n_listed
    native = peak_memory_mb(replace(size, n_kpoints=round(n_listed)), protocol)
    reach = math.sqrt(protocol.ecutwfc_ry) / (2 * math.pi * BOHR_ANGSTROM)
    n_mesh = prod(
        2 * math.ceil(reach * float(edge)) + 3 for edge in np.linalg.norm(crystal.lattice, axis=1)
    )
    waves = n_listed * size.n_bands * (size.n_waves + n_mesh)
    block = _BLOCK_COPIES * _block(crystal, protocol, _rungs(protocol)[-1]) ** 2 * protocol.n_energies
    return {**native, Stage.RESPONSE: _BASE_MB + (waves + block) * _MB_A_NUMBER}


def _rungs(protocol: Protocol) -> tuple[int, ...]:
    """Rungs that are run, in steps of the ladder."""
    return _IPA_RUNGS if protocol.is_ipa_only else _RUNGS


def _block(crystal: Crystal, protocol: Protocol, rung: int) -> float:
    """G vectors of the response block of a rung."""
    if not rung:
        return 1.0
    gmax_ry = rung * protocol.gmax_step_mry / MRY_PER_RY
    return _SHELL_FACTOR * count_plane_waves(crystal.volume_angstrom3, gmax_ry)


def _count(crystal: Crystal, protocol: Protocol) -> _Lists:
    group = known_space_group(crystal)
    n_all, n_known = _orders(group)
    n_listed = prod(grid_divisions(crystal, protocol.response_kppa, even=True)) * n_all / n_known
    return _Lists(n_listed=n_listed, n_zone=n_listed * n_known, n_directions=_directions(group))


@lru_cache(maxsize=530)
def _orders(group: SpaceGroup) -> tuple[int, int]:
    """Operations with time reversal: all, and those without a shift, which YAMBO knows."""
    shifts = group.translations - np.rint(group.translations)
    known = group.rotations[np.abs(shifts).max(axis=1) < _SHIFT_TOLERANCE]
    return len(_with_inversion(group.point_group)), len(_with_inversion(known))


def _with_inversion(rotations: IntArray) -> IntArray:
    return np.unique(np.concatenate([rotations, -rotations]), axis=0)


def _directions(group: SpaceGroup) -> int:
    if group.number >= _FIRST_CUBIC:
        return 1
    return 2 if group.number >= _FIRST_UNIAXIAL else 3
