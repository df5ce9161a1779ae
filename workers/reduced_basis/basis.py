"""The Hamiltonian in a few periodic functions, at any k-point of the region they were made for.

b_j(r) = sum_G b_j(G) exp(i G . r), G in the union of the spheres of all k-points. At k only the plane
waves of the sphere of k count, as in pw.x. With o the waves outside of it,

    H_ij(k) = <b_i| |k+G|^2/2 + V |b_j> - [the same within o and between o and the rest] + KB(k)
    S_ij(k) = delta_ij - sum_{G in o} b_i*(G) b_j(G)

so that the parts that do not depend on k are summed once and only the few waves in o are summed at each
k. Without it the bands are 28 meV off those of pw.x in LiF, with it below 2 meV.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from farm.errors import CalculationError
from farm.kpoints import FloatArray, IntArray
from workers.reduced_basis.hamiltonian import Coefficients, Hamiltonian
from workers.rpa.wavefunctions import Wavefunctions

# Eigenvalues change by about as many hartree, times the few hartree that H varies by: 1 meV.
NEGLIGIBLE = 2e-5


@dataclass(frozen=True, eq=False)
class ReducedStates:
    """Bands of one k-point in the basis.

    energies: ascending, shape ``(n_bands,)``, hartree
    vectors:  coefficients of the basis functions, shape ``(n_bands, n_functions)``
    """

    energies: FloatArray
    vectors: Coefficients


class ReducedBasis:
    """Orthonormal periodic functions that span the bands of a region of k-space.

    millers: plane waves of any k-point of the region, shape ``(n_pw, 3)``
    """

    def __init__(self, hamiltonian: Hamiltonian, kpoints: FloatArray) -> None:
        """An empty basis for the region of ``kpoints`` (in the first zone), shape ``(n_k, 3)``."""
        self._hamiltonian = hamiltonian
        self._double = np.result_type(hamiltonian.dtype, np.float64)
        self.millers = hamiltonian.union_of_spheres(kpoints)
        self._vectors = self.millers @ hamiltonian.reciprocal
        # Plane waves first: the few rows that are cut at a k-point lie together in memory.
        self._functions: Coefficients = np.zeros((len(self.millers), 0), dtype=self._hamiltonian.dtype)
        self._potential_times = self._functions  # V b
        # <b|G^2/2 + V|b> and <b|G|b>
        self._constant: Coefficients = np.zeros((0, 0), dtype=self._hamiltonian.dtype)
        self._linear: Coefficients = np.zeros((3, 0, 0), dtype=self._hamiltonian.dtype)
        self._table = _PotentialTable(hamiltonian, self.millers)

    @property
    def size(self) -> int:
        """Number of functions."""
        return int(self._functions.shape[1])

    def embed(self, millers: IntArray, states: Coefficients) -> Coefficients:
        """States in other plane waves as states in ``millers``; waves that are not among them are lost."""
        rows = {wave: i for i, wave in enumerate(map(tuple, self.millers.tolist()))}
        places = np.array([rows.get(wave, -1) for wave in map(tuple, millers.tolist())])
        known = places >= 0
        embedded = np.zeros((len(states), len(self.millers)), dtype=self._hamiltonian.dtype)
        embedded[:, places[known]] = states[:, known]
        return embedded

    def add(self, states: Coefficients, negligible: float = NEGLIGIBLE) -> int:
        """Add what states, shape ``(n_bands, n_pw)``, hold beyond the basis.

        They are best solved in all of ``millers``: states cut to the sphere of one k-point lack what is
        in the sphere of the next. A direction with less than ``negligible`` squared length beyond the
        basis is left out. Returns the number of new functions.
        """
        new = self._orthonormal(states, negligible)
        # Again, for what single precision left of the old functions in the new ones.
        new = self._orthonormal(new, 0.5)
        self._extend(new)
        return len(new)

    def compressed(self, samples: Iterable[Coefficients], negligible: float) -> ReducedBasis:
        """The fewest functions that hold the sampled states, each of shape ``(n_bands, n_pw)``.

        The eigenvectors of their overlap within this basis; those whose squared lengths, summed over all
        states, are below ``negligible`` are left out.
        """
        overlap = np.zeros((self.size, self.size), dtype=self._double)
        for states in samples:
            within = states @ self._functions.conj()
            overlap += within.T @ within.conj()
        lengths, vectors = np.linalg.eigh(overlap)
        mixing: Coefficients = vectors[:, lengths > negligible].astype(self._hamiltonian.dtype)
        bra: Coefficients = mixing.conj().T
        smaller = copy(self)
        smaller._functions = self._functions @ mixing
        smaller._potential_times = self._potential_times @ mixing
        smaller._constant = (bra @ self._constant @ mixing).astype(self._hamiltonian.dtype)
        smaller._linear = (bra @ self._linear @ mixing).astype(self._hamiltonian.dtype)
        return smaller

    def _orthonormal(self, states: Coefficients, least: float) -> Coefficients:
        beyond = states - (states @ self._functions.conj()) @ self._functions.T
        lengths, mixing = np.linalg.eigh((beyond.conj() @ beyond.T).astype(self._double))
        kept = lengths > least
        normalised = (mixing[:, kept] / np.sqrt(lengths[kept])).T
        rows: Coefficients = normalised.astype(self._hamiltonian.dtype) @ beyond
        return rows

    def _extend(self, new: Coefficients) -> None:
        moved = self._hamiltonian.apply_local(self.millers, new)
        self._functions = np.concatenate([self._functions, new.T], axis=1)
        self._potential_times = np.concatenate([self._potential_times, moved.T], axis=1)
        squares = 0.5 * np.einsum("ga,ga->g", self._vectors, self._vectors)
        self._constant = self._grown(self._constant, squares * new + moved)
        self._linear = np.stack(
            [
                self._grown(old, component * new)
                for old, component in zip(self._linear, self._vectors.T, strict=True)
            ]
        )

    def _grown(self, old: Coefficients, applied: NDArray[np.complexfloating]) -> Coefficients:
        # A Hermitian matrix with the rows and columns of the new functions.
        columns = self._functions.conj().T @ applied.astype(self._hamiltonian.dtype).T
        n_old, n = len(old), len(columns)
        grown = np.empty((n, n), dtype=columns.dtype)
        grown[:n_old, :n_old] = old
        grown[:, n_old:] = columns
        grown[n_old:, :n_old] = columns[:n_old].conj().T
        return grown

    def solve(self, kpoint: FloatArray, n_bands: int) -> ReducedStates:
        """The lowest bands at a k-point of the region.

        Raises CalculationError where the functions, cut to the sphere of the k-point, are not independent.
        """
        energies, vectors = self._lowest(kpoint, n_bands, eigvals_only=False)
        return ReducedStates(energies.astype(np.float64), np.ascontiguousarray(vectors.T))

    def energies(self, kpoint: FloatArray, n_bands: int) -> FloatArray:
        """Eigenvalues alone, at less cost, shape ``(n_bands,)``, hartree."""
        values: FloatArray = self._lowest(kpoint, n_bands, eigvals_only=True).astype(np.float64)
        return values

    def _lowest(self, kpoint: FloatArray, n_bands: int, *, eigvals_only: bool) -> Any:
        try:
            return scipy.linalg.eigh(
                *self._matrices(kpoint),
                eigvals_only=eigvals_only,
                subset_by_index=[0, n_bands - 1],
                driver="gvx",
                check_finite=False,
                overwrite_a=True,
                overwrite_b=True,
            )
        except np.linalg.LinAlgError as error:
            # Overlaps are singular: a function has nothing within the sphere of this k-point.
            raise CalculationError(
                f"{self.size} basis functions are too many for the plane waves at "
                f"k = {np.round(kpoint, 4).tolist()}",
                fix="Use bands = 'nscf'",
            ) from error

    def expand(self, kpoint: FloatArray, vectors: Coefficients) -> Wavefunctions:
        """Plane-wave coefficients of reduced vectors in the sphere of their k-point."""
        inside, _ = self._inside(kpoint)
        coefficients = self.uncut(vectors)[:, inside].astype(np.complex64)
        return Wavefunctions(kpoint, self.millers[inside], coefficients)

    def cut(self, kpoint: FloatArray, vectors: Coefficients) -> Coefficients:
        """The same as they are, real or complex, in the order of :meth:`Hamiltonian.sphere`."""
        return self.uncut(vectors)[:, self._inside(kpoint)[0]]

    def uncut(self, vectors: Coefficients) -> Coefficients:
        """Coefficients of reduced vectors in all of ``millers``, shape ``(n_bands, n_pw)``."""
        return vectors @ self._functions.T

    def _inside(self, kpoint: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
        kinetic = self._hamiltonian.kinetic(kpoint, self.millers)
        return kinetic < self._hamiltonian.cutoff, kinetic

    def _matrices(self, kpoint: FloatArray) -> tuple[Coefficients, Coefficients]:
        """H and S at a k-point."""
        inside, kinetic = self._inside(kpoint)
        outside = np.flatnonzero(~inside)
        shift = (kpoint @ self._hamiltonian.reciprocal).astype(np.float32)
        matrix = self._constant + np.tensordot(shift, self._linear, axes=1)
        matrix[np.diag_indices(self.size)] += 0.5 * shift @ shift

        cut = self._functions[outside]
        bra = cut.conj().T
        half = self._table.between(outside) @ cut
        half *= np.float32(-0.5)
        half += self._potential_times[outside]
        half += (0.5 * kinetic[outside, None]).astype(np.float32) * cut
        removed = bra @ half
        matrix -= removed + removed.conj().T

        # Zero outside: cheaper than a copy of all functions without those rows.
        projectors = np.zeros((len(self._hamiltonian.d_ij), len(inside)), dtype=self._hamiltonian.dtype)
        projectors[:, inside] = self._hamiltonian.projectors(kpoint, self.millers[inside])
        projected = projectors @ self._functions
        matrix += projected.conj().T @ (self._hamiltonian.d_ij @ projected)

        overlap = -(bra @ cut)
        overlap[np.diag_indices(self.size)] += 1
        return matrix, overlap


class _PotentialTable:
    """V(G - G') of the waves of a basis, laid out so that one subtraction finds an element."""

    def __init__(self, hamiltonian: Hamiltonian, millers: IntArray) -> None:
        span = millers.max(axis=0) - millers.min(axis=0)
        axes = [np.arange(-n, n + 1) for n in span]
        differences = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        self._values = hamiltonian.potential_at(differences)
        strides = np.array([(2 * span[1] + 1) * (2 * span[2] + 1), 2 * span[2] + 1, 1])
        self._places = (millers @ strides).astype(np.int32)
        self._origin = int(span @ strides)

    def between(self, chosen: IntArray) -> Coefficients:
        """V(G - G') for every pair of the chosen waves, shape ``(n, n)``."""
        places = self._places[chosen]
        found: Coefficients = self._values[places[:, None] - places[None] + self._origin]
        return found
