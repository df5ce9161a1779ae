"""The lowest bands of one k-point by the block Davidson method, and the error of approximate ones.

The error of an eigenvalue follows from the residual r = H x - e x by second-order perturbation theory
with the diagonal of H, sum_G |r(G)|^2 / (H_GG - e): what the guess lacks is mostly plane waves far above
the bands, and there the estimate is exact. Davidson, J. Comput. Phys. 17, 87 (1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from farm.errors import CalculationError
from farm.kpoints import FloatArray
from workers.reduced_basis.hamiltonian import Coefficients, PointHamiltonian

# Of the search space in units of the number of bands, before it is taken together.
_LARGEST_SPACE = 3
_MOST_ITERATIONS = 60

# hartree. Smaller denominators would blow up corrections of states next to the bands.
_LEAST_DENOMINATOR = 0.3

# New directions that are this much the same as others are left out (squared length).
_INDEPENDENT = 1e-6

# Plane waves of the first guess, in units of the number of bands.
_GUESS_WAVES = 6


@dataclass(frozen=True, eq=False)
class Eigenstates:
    """The lowest bands of a k-point.

    energies:     ascending, shape ``(n_bands,)``, hartree
    coefficients: orthonormal rows, shape ``(n_bands, n_pw)``
    """

    energies: FloatArray
    coefficients: Coefficients


def solve_lowest(
    point: PointHamiltonian, guess: Coefficients, n_wanted: int, tolerance: float
) -> Eigenstates:
    """The lowest bands, as many as ``guess`` has rows; the first ``n_wanted`` to ``tolerance`` hartree.

    The others speed up convergence and are less exact. Raises CalculationError where the iteration
    does not converge.
    """
    space = _orthonormal(guess)
    n_bands = len(space)
    applied = point.apply(space)
    for _ in range(_MOST_ITERATIONS):
        matrix = _double(space.conj() @ applied.T)
        energies, mixing = scipy.linalg.eigh(
            (matrix + matrix.conj().T) / 2, subset_by_index=[0, n_bands - 1], check_finite=False
        )
        rows = np.ascontiguousarray(mixing.T, dtype=space.dtype)
        states, moved = rows @ space, rows @ applied
        residuals, denominators, errors = _residuals(point, energies, states, moved)
        if (errors[:n_wanted] < tolerance).all():
            return Eigenstates(energies, states)
        if len(space) > _LARGEST_SPACE * n_bands:
            space, applied = states, moved
        wrong = errors > tolerance
        new = _orthonormal(residuals[wrong] / denominators[wrong], space)
        if not len(new):
            break
        space = np.concatenate([space, new])
        applied = np.concatenate([applied, point.apply(new)])
    raise CalculationError(
        f"bands at k = {np.round(point.kpoint, 4).tolist()} did not converge in plane waves",
        fix="Use bands = 'nscf'",
    )


def estimated_errors(point: PointHamiltonian, states: Eigenstates) -> FloatArray:
    """How much too high the energies of approximate states are, shape ``(n_bands,)``, hartree."""
    moved = point.apply(states.coefficients)
    return _residuals(point, states.energies, states.coefficients, moved)[2]


def first_guess(point: PointHamiltonian, n_bands: int) -> Coefficients:
    """The lowest states among few plane waves of low energy, shape ``(n_bands, n_pw)``."""
    n_waves = min(len(point.kinetic), _GUESS_WAVES * n_bands)
    lowest, matrix = point.in_lowest(n_waves)
    _, states = scipy.linalg.eigh(matrix, subset_by_index=[0, n_bands - 1], check_finite=False)
    guess = np.zeros((n_bands, len(point.kinetic)), dtype=point.crystal.dtype)
    guess[:, lowest] = states.T
    return guess


def _residuals(
    point: PointHamiltonian, energies: FloatArray, states: Coefficients, moved: Coefficients
) -> tuple[Coefficients, NDArray[np.float32], FloatArray]:
    """r = H x - e x, the denominators H_GG - e, and the errors of the eigenvalues."""
    levels = energies[:, None].astype(np.float32)
    residuals = moved - levels * states
    above = point.kinetic + np.float32(point.crystal.average_potential) - levels
    denominators = np.maximum(above, np.float32(_LEAST_DENOMINATOR))
    errors = (np.abs(residuals) ** 2 / denominators).sum(axis=1).astype(np.float64)
    return residuals, denominators, errors


def _orthonormal(rows: Coefficients, space: Coefficients | None = None) -> Coefficients:
    """An orthonormal basis of what ``rows`` hold beyond ``space`` (orthonormal rows)."""
    # Twice: once is not enough in single precision.
    return _orthonormal_once(_orthonormal_once(rows, space), space)


def _orthonormal_once(rows: Coefficients, space: Coefficients | None) -> Coefficients:
    beyond = rows if space is None else rows - (rows @ space.conj().T) @ space
    unit = beyond / np.maximum(np.linalg.norm(beyond, axis=1), np.float32(1e-30))[:, None]
    values, vectors = np.linalg.eigh(_double(unit.conj() @ unit.T))
    kept = values > _INDEPENDENT
    mixing = (vectors[:, kept] / np.sqrt(values[kept])).T.astype(rows.dtype)
    orthonormal: Coefficients = mixing @ unit
    return orthonormal


def _double(matrix: Coefficients) -> Coefficients:
    return matrix.astype(np.result_type(matrix.dtype, np.float64))
