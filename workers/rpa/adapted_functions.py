"""Real functions of G adapted to a one-dimensional representation, and the matrices that apply them.

An operation S = {R|t} maps exp(i G . r) to exp(-i RG . t) exp(i RG . r). The space of a star of G (closed
under the group and under G -> -G) falls into orbits of the subgroup H; in each the projector
(1/n_H) sum_S chi(S) S picks the functions that transform like the field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray, IntArray
from farm.spectrum import ComplexArray
from workers.rpa.wavefunctions import SingleComplexArray

# Stars are put together into matrices of about this many entries: small enough to skip most zeros,
# large enough to be few.
_BLOCK_ENTRIES = 4096


@dataclass(frozen=True, eq=False)
class Operations:
    """The space group acting on positions, on G and on Cartesian vectors.

    rotations:    on fractional positions, integer, shape ``(n, 3, 3)``
    translations: fractional, shape ``(n, 3)``
    cartesian:    orthogonal matrices, shape ``(n, 3, 3)``
    """

    rotations: IntArray
    translations: FloatArray
    cartesian: FloatArray


@dataclass(frozen=True, eq=False)
class Images:
    """What operations do to the plane waves of a sphere of G.

    index: of RG, shape ``(n_operations, n_g)``
    phase: exp(-i RG . t), same shape
    minus: index of -G, shape ``(n_g,)``
    """

    index: IntArray
    phase: ComplexArray
    minus: IntArray

    @classmethod
    def of(cls, ops: Operations, millers: IntArray) -> Images:
        """All operations on ``millers``, shape ``(n_g, 3)``, which is closed under them."""
        limits = np.abs(millers).max(axis=0)
        table = np.empty(tuple(2 * limits + 1), dtype=np.int64)
        table[tuple((millers + limits).T)] = np.arange(len(millers))
        turned = millers[None] @ np.rint(np.linalg.inv(ops.rotations)).astype(np.int64)
        return cls(
            index=table[tuple(np.moveaxis(turned + limits, -1, 0))],
            phase=np.exp(-2j * np.pi * np.einsum("sgi,si->sg", turned, ops.translations)),
            minus=table[tuple((limits - millers).T)],
        )

    def only(self, operations: IntArray | list[int]) -> Images:
        """Some of the operations."""
        return Images(self.index[operations], self.phase[operations], self.minus)

    def orbit(self, g: int) -> IntArray:
        """Sorted indices of everything G turns into, and of minus that."""
        turned = self.index[:, g]
        return np.unique(np.concatenate([turned, self.minus[turned]]))


@dataclass(frozen=True, eq=False)
class Function:
    """One real function: sum over ``members`` (indices of G) of coefficients times exp(i G . r)."""

    members: IntArray
    coefficients: ComplexArray


@dataclass(frozen=True, eq=False)
class Block:
    """Some of the functions of a channel: whole stars of G.

    members:   indices of G, shape ``(n_members,)``
    functions: which of the channel's functions these are
    matrix:    C f_i / |G|, shape ``(n_members, n_cosets * n)`` for n functions, coset first
    """

    members: IntArray
    functions: slice
    matrix: SingleComplexArray


def stars_of(images: Images) -> list[IntArray]:
    """The orbits of all G but 0, in the order of their first members (by |G|)."""
    return list(_orbits(images, range(1, len(images.minus))))


def functions_of_star(star: IntArray, images: Images, character: IntArray) -> list[Function]:
    """An orthonormal basis of the representation ``character`` of the operations of ``images``."""
    found = []
    for members in _orbits(images, star.tolist()):
        partner = np.searchsorted(members, images.minus[members])
        basis = _cosines_and_sines(partner)
        projector = np.zeros((len(members), len(members)), dtype=np.complex128)
        columns = np.arange(len(members))
        for index, phase, sign in zip(images.index, images.phase, character, strict=True):
            projector[np.searchsorted(members, index[members]), columns] += sign * phase[members]
        adapted = (basis.conj().T @ projector @ basis).real / len(character)
        values, vectors = np.linalg.eigh((adapted + adapted.T) / 2)
        # A projector has eigenvalues 0 and 1.
        found += [Function(members, basis @ vectors[:, n]) for n in np.flatnonzero(values > 0.5)]
    return found


def _orbits(images: Images, among: Iterable[int]) -> Iterable[IntArray]:
    seen: set[int] = set()
    for g in among:
        if g not in seen:
            orbit = images.orbit(g)
            seen.update(orbit.tolist())
            yield orbit


def _cosines_and_sines(partner: IntArray) -> ComplexArray:
    """sqrt(2) cos(G . r) and sqrt(2) sin(G . r) as columns; ``partner`` is the place of -G."""
    basis = np.zeros((len(partner), len(partner)), dtype=np.complex128)
    for pair, i in enumerate(np.flatnonzero(np.arange(len(partner)) < partner)):
        basis[[i, partner[i]], 2 * pair] = np.sqrt(0.5)
        basis[[i, partner[i]], 2 * pair + 1] = -1j * np.sqrt(0.5), 1j * np.sqrt(0.5)
    return basis


def blocks(
    stars: list[IntArray], functions: list[list[Function]], cosets: Images, lengths: FloatArray
) -> tuple[Block, ...]:
    """The functions of each star, turned by each coset representative, as matrices over members of G.

    lengths: |G|, shape ``(n_g,)``
    """
    found: list[Block] = []
    members, pending, end = list[IntArray](), list[Function](), 0
    for i, (star, here) in enumerate(zip(stars, functions, strict=True)):
        members, pending = [*members, star], [*pending, *here]
        entries = sum(len(m) for m in members) * len(pending) * len(cosets.index)
        if pending and (entries >= _BLOCK_ENTRIES or i == len(stars) - 1):
            joined = np.concatenate(members)
            end += len(pending)
            matrix = _matrix(joined, pending, cosets, lengths)
            found.append(Block(joined, slice(end - len(pending), end), matrix))
            members, pending = [], []
    return tuple(found)


def _matrix(
    members: IntArray, functions: list[Function], cosets: Images, lengths: FloatArray
) -> SingleComplexArray:
    place = np.empty(len(lengths), dtype=np.int64)
    place[members] = np.arange(len(members))
    matrix = np.zeros((len(members), len(cosets.index), len(functions)), dtype=np.complex128)
    for coset, (index, phase) in enumerate(zip(cosets.index, cosets.phase, strict=True)):
        for i, function in enumerate(functions):
            of = function.members
            matrix[place[index[of]], coset, i] = function.coefficients * phase[of] / lengths[of]
    single: SingleComplexArray = matrix.reshape(len(members), -1).astype(np.complex64)
    return single
