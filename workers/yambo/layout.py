"""How a response is shared by MPI ranks, and what memory it takes; pure.

The work is shared by k-points first (each rank then holds only its share of the wavefunctions), then by
empty and filled bands. The memory was compared with 24 runs on nine crystals (YAMBO 5.2.4, one process):
the estimate is 0.9 to 1.3 times the largest resident size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, pi, sqrt
from typing import Literal

from farm.errors import ResourceError
from farm.kpoints import FloatArray
from farm.units import BOHR_ANGSTROM

ParallelMode = Literal["balanced", "workload", "memory"]

# Code, libraries and tables of a process before it has read anything.
BASE_MB = 240.0
_MB = 2**20
# The response block of every frequency, and the one that is solved from it.
_BLOCK_COPIES = 2
# A rank also needs the wavefunctions at the rotated points of its share.
_SHARED_WAVES = 1.3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Ranks, and how they share the work.

    mode:    what yambo optimises where no roles are given
    k, c, v: ranks along k-points, empty and filled bands, product ``ranks``; 0: yambo decides
    threads: of each rank, where yambo was built with OpenMP
    """

    ranks: int = 1
    threads: int = 1
    mode: ParallelMode = "workload"
    k: int = 0
    c: int = 0
    v: int = 0

    @property
    def has_roles(self) -> bool:
        """Whether the shares are given; one rank has nothing to share."""
        return self.ranks > 1 and self.k * self.c * self.v == self.ranks


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """What memory depends on.

    n_kpoints, n_bands, n_filled: of SAVE
    n_waves:     plane waves at a k-point
    n_mesh:      points of the real-space mesh
    n_bytes:     of a complex number: 8 in single precision
    """

    n_kpoints: int
    n_bands: int
    n_filled: int
    n_waves: int
    n_mesh: int
    n_bytes: int = 8


def choose_layout(available: int, dimensions: Dimensions) -> Layout:
    """Most ranks of those available that k-points, empty and filled bands can be given to."""
    n_k, n_v = dimensions.n_kpoints, dimensions.n_filled
    n_c = dimensions.n_bands - n_v
    for ranks in range(available, 1, -1):
        k = _largest_divisor(ranks, n_k)
        c = _largest_divisor(ranks // k, n_c)
        v = ranks // k // c
        if v <= n_v:
            return Layout(ranks=ranks, k=k, c=c, v=v)
    return Layout()


def _largest_divisor(number: int, limit: int) -> int:
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(limit, 1))


def mesh_points(lattice_angstrom: FloatArray, ecutwfc_ry: float) -> int:
    """Points of the mesh that holds the wavefunctions, within 20 % of yambo's own choice."""
    reach = sqrt(ecutwfc_ry) / (2 * pi * BOHR_ANGSTROM)
    divisions = [2 * ceil(reach * float(sum(a * a) ** 0.5)) + 3 for a in lattice_angstrom]
    return divisions[0] * divisions[1] * divisions[2]


def estimate_memory_mb(dimensions: Dimensions, n_g: int, n_energies: int, ranks: int = 1) -> float:
    """Peak resident memory of all ranks together.

    n_g: G vectors of the response block; every rank holds all of it, and its share of the wavefunctions
    """
    d = dimensions
    waves = d.n_kpoints * d.n_bands * (d.n_waves + (d.n_mesh if n_g > 1 else 0)) * d.n_bytes / _MB
    block = _BLOCK_COPIES * n_g**2 * n_energies * d.n_bytes / _MB
    return ranks * (BASE_MB + block) + waves * (1.0 if ranks == 1 else _SHARED_WAVES)


def require_memory(needed_mb: float, available_mb: float, name: str) -> None:
    """Raise ResourceError where a run does not fit into what the machine has."""
    if needed_mb > available_mb:
        raise ResourceError(
            f"{name}: yambo would need {needed_mb:.0f} MB, this machine has {available_mb:.0f} MB",
            fix="Use a machine with more memory; a smaller response block is another calculation",
        )
