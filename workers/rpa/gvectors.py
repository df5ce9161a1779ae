"""Reciprocal vectors in closed shells, and how many of them a Gmax takes.

Gmax is an energy: |G|^2 in Ry (G in 1/bohr). Like YAMBO's ``NGsBlkXd`` it is rounded up to the first
closed shell at or above it (Si: 2000 mRy take 27 vectors, 4000 mRy 51).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray, IntArray
from farm.units import MRY_PER_RY

# Two |G|^2 within this many Ry are one shell.
_SHELL_TOLERANCE_RY = 1e-5


@dataclass(frozen=True, eq=False)
class GVectors:
    """Reciprocal vectors ordered by length.

    millers: integer coordinates, shape ``(n_g, 3)``, the zero vector first
    lengths: |G|, shape ``(n_g,)``, 1/bohr
    shells:  number of the closed shell each belongs to, shape ``(n_g,)``
    n_g:     how many of them each requested Gmax takes, one a Gmax
    """

    millers: IntArray
    lengths: FloatArray
    shells: IntArray
    n_g: tuple[int, ...]


def symmetric_metric(reciprocal: FloatArray, rotations: IntArray) -> FloatArray:
    """b_i . b_j averaged over R b, shape ``(3, 3)``, in the unit of the rows ``reciprocal`` squared.

    A cell that has its symmetry only within the tolerance would otherwise tear its shells apart.
    ``rotations`` act on fractional positions; G then turns as millers @ inverse(rotation). For rows
    of the direct lattice give their transposes.
    """
    metric = reciprocal @ reciprocal.T
    averaged: FloatArray = np.einsum("rij,jk,rlk->il", rotations, metric, rotations) / len(rotations)
    return averaged


def shells_up_to(gmax_mry: tuple[int, ...], metric: FloatArray) -> GVectors:
    """All G of the closed shells that the largest Gmax takes."""
    largest = max(gmax_mry) / MRY_PER_RY
    # One more reciprocal vector in every direction certainly reaches the next shell.
    reach = np.sqrt(largest) + np.sqrt(metric.diagonal().max())
    bounds = np.floor(reach * np.sqrt(np.linalg.inv(metric).diagonal())).astype(int)
    axes = [np.arange(-n, n + 1) for n in bounds]
    millers = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    squares = np.einsum("gi,ij,gj->g", millers, metric, millers)
    order = np.lexsort((*millers.T, np.round(squares / _SHELL_TOLERANCE_RY)))
    millers, squares = millers[order], squares[order]
    shells = np.concatenate([[0], np.cumsum(np.diff(squares) > _SHELL_TOLERANCE_RY)])
    first = np.concatenate([[True], np.diff(shells) > 0])
    # For each Gmax the first shell at or above it, then every vector up to the end of that shell.
    shell_squares = squares[first]
    ends = np.append(np.flatnonzero(first)[1:], squares.size)
    wanted = np.array(gmax_mry) / MRY_PER_RY - _SHELL_TOLERANCE_RY
    n_g = tuple(int(ends[np.searchsorted(shell_squares, g)]) for g in wanted)
    keep = max(n_g)
    lengths = np.sqrt(np.maximum(squares[:keep], 0.0))
    return GVectors(millers[:keep].astype(np.int64), lengths, shells[:keep], n_g)
