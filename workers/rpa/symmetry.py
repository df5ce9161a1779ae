"""Symmetry-adapted real functions for the response along any direction.

The full response is the average over the space group of the response of the irreducible k-points.
For a field along e only functions matter that transform like the field under the subgroup
H = {S : R e = +-e}: the one-dimensional representation chi with R e = chi(S) e. Let f_i be an
orthonormal basis of that space and C representatives of the cosets of H in the group; then

    <f_i| sum_S S X_k S^-1 |f_j> / n_S = sum_C <C f_i| X_k |C f_j> / n_C,

and the same with C e for the head. The f_i are cos and sin of G . r, so that time reversal (the
stars hold -k as well) leaves only the real part of the spectral matrix. The largest matrix of silicon
at 10 Ry shrinks from 169 G vectors to 30 functions.

Off-diagonal elements of the symmetric tensor eps follow from diagonal ones along the bisectors,
eps_xy = eps(x+y) - (eps_xx + eps_yy)/2: one mechanism serves both.

An operation S = {R|t} maps exp(i G . r) to exp(-i RG . t) exp(i RG . r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray, IntArray, SpaceGroup
from farm.spectrum import ComplexArray
from workers.rpa.gvectors import GVectors, symmetric_metric
from workers.rpa.wavefunctions import SingleComplexArray

_AXIS_TOLERANCE = 1e-6

# Stars are put together into matrices of about this many entries: small enough to skip most zeros,
# large enough to be few.
_BLOCK_ENTRIES = 4096

AXES = np.eye(3)
# Pairs of axes whose off-diagonal element a bisector gives: xy, yz, zx.
OFF_DIAGONAL = ((0, 1), (1, 2), (2, 0))
BISECTORS = np.array([AXES[a] + AXES[b] for a, b in OFF_DIAGONAL]) / np.sqrt(2)


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


@dataclass(frozen=True, eq=False)
class Channel:
    """Directions that share one body matrix.

    directions: indices in the list of directions whose heads this channel carries
    heads:      C e for each coset and direction, shape ``(n_cosets, n_directions, 3)``
    blocks:     the functions f_i of the body, ordered by |G|
    n_functions: how many f_i each Gmax takes, one a Gmax (the leading ones)
    """

    directions: tuple[int, ...]
    heads: FloatArray
    blocks: tuple[Block, ...]
    n_functions: tuple[int, ...]


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


def operations(group: SpaceGroup, lattice: FloatArray) -> Operations:
    """The operations of ``group`` for a cell with rows ``lattice`` (any unit).

    A cell that has its symmetry only within spglib's tolerance is first strained to have it exactly:
    rotations that are not quite orthogonal would count one direction as several.
    """
    # The metric L L^T averaged over the group is that of L S, with S symmetric: the nearest such cell.
    metric = symmetric_metric(lattice, group.point_group.transpose(0, 2, 1))
    inverse = np.linalg.inv(lattice)
    values, vectors = np.linalg.eigh(inverse @ metric @ inverse.T)
    columns = (lattice @ (vectors * np.sqrt(values)) @ vectors.T).T
    cartesian = columns @ group.rotations @ np.linalg.inv(columns)
    return Operations(group.rotations, group.translations, cartesian)


def equivalent_directions(ops: Operations, directions: FloatArray) -> list[int]:
    """For each direction the first one along which every invariant tensor has the same element.

    e e^T and e' e'^T with equal averages over the group have it: all of a cubic crystal, those in the
    plane of a hexagonal one. ``directions`` are unit vectors, shape ``(n, 3)``.
    """
    images = np.einsum("rij,dj->rdi", ops.cartesian, directions)
    averages = np.einsum("rdi,rdj->dij", images, images) / len(ops.cartesian)
    found = []
    for i, average in enumerate(averages):
        same = (j for j in range(i) if np.abs(averages[j] - average).max() < _AXIS_TOLERANCE)
        found.append(next(same, i))
    return found


def channels(ops: Operations, gvectors: GVectors, directions: FloatArray) -> tuple[Channel, ...]:
    """One channel for each set of inequivalent directions with the same H and character."""
    images, phases = _images(ops, gvectors.millers)
    grouped: dict[bytes, list[int]] = {}
    for i in sorted(set(equivalent_directions(ops, directions))):
        grouped.setdefault(_character(ops, directions[i]).tobytes(), []).append(i)
    return tuple(_channel(ops, gvectors, images, phases, directions, same) for same in grouped.values())


def _character(ops: Operations, direction: FloatArray) -> IntArray:
    # +1 or -1 where R e = +-e, 0 outside H.
    cosines = ops.cartesian @ direction @ direction
    along = np.abs(np.abs(cosines) - 1) < _AXIS_TOLERANCE
    return np.where(along, np.rint(cosines), 0).astype(np.int64)


def _channel(
    ops: Operations,
    gvectors: GVectors,
    images: IntArray,
    phases: ComplexArray,
    directions: FloatArray,
    chosen: list[int],
) -> Channel:
    character = _character(ops, directions[chosen[0]])
    inside = np.flatnonzero(character)
    stars = _orbits(gvectors.millers, images)
    rows = [
        [
            row
            for orbit in _orbits(gvectors.millers, images[inside], star)
            for row in _orbit_functions(orbit, images[inside], phases[inside], character[inside])
        ]
        for star, _ in stars
    ]
    starts = np.array([star[0] for (star, _), here in zip(stars, rows, strict=True) for _ in here])
    reps = _coset_representatives(ops, directions[chosen[0]])
    return Channel(
        directions=tuple(chosen),
        heads=np.einsum("cij,dj->cdi", ops.cartesian[reps], directions[chosen]),
        blocks=_blocks([star for star, _ in stars], rows, images[reps], phases[reps], gvectors),
        n_functions=tuple(int(np.count_nonzero(starts < n)) for n in gvectors.n_g),
    )


def _coset_representatives(ops: Operations, direction: FloatArray) -> list[int]:
    # C H and C' H differ exactly where C e and C' e are different lines.
    images = ops.cartesian @ direction
    found: list[int] = []
    for i, image in enumerate(images):
        if all(abs(abs(image @ images[j]) - 1) > _AXIS_TOLERANCE for j in found):
            found.append(i)
    return found


def _positions(millers: IntArray, wanted: IntArray) -> IntArray:
    """Index in ``millers`` of each vector of ``wanted`` (any leading shape)."""
    limits = np.abs(millers).max(axis=0)
    table = np.full(tuple(2 * limits + 1), -1, dtype=np.int64)
    table[tuple((millers + limits).T)] = np.arange(len(millers))
    found: IntArray = table[tuple(np.moveaxis(wanted + limits, -1, 0))]
    return found


def _images(ops: Operations, millers: IntArray) -> tuple[IntArray, ComplexArray]:
    """Index of RG and the factor exp(-i RG . t), both of shape ``(n_operations, n_g)``."""
    inverses = np.rint(np.linalg.inv(ops.rotations)).astype(np.int64)
    turned = millers[None] @ inverses
    phases = np.exp(-2j * np.pi * np.einsum("sgi,si->sg", turned, ops.translations))
    return _positions(millers, turned), phases


def _orbits(
    millers: IntArray, images: IntArray, among: IntArray | None = None
) -> list[tuple[IntArray, IntArray]]:
    """Sets of G (without 0) closed under the operations of ``images`` and under G -> -G, by |G|.

    Each is the sorted indices of its members, and for each member the place of -G among them.
    """
    minus = _positions(millers, -millers)
    seen = np.zeros(len(millers), dtype=bool)
    found = []
    for g in range(1, len(millers)) if among is None else among:
        if not seen[g]:
            orbit = np.unique(np.concatenate([images[:, g], minus[images[:, g]]]))
            seen[orbit] = True
            # The place of -G is needed for cos and sin.
            found.append((orbit, np.searchsorted(orbit, minus[orbit])))
    return found


def _orbit_functions(
    orbit: tuple[IntArray, IntArray], images: IntArray, phases: ComplexArray, character: IntArray
) -> list[tuple[IntArray, ComplexArray]]:
    """Orthonormal real functions of one orbit in the representation: (indices of G, coefficients)."""
    members, partner = orbit
    size = len(members)
    projector = np.zeros((size, size), dtype=np.complex128)
    for image, phase, sign in zip(images[:, members], phases[:, members], character, strict=True):
        projector[np.searchsorted(members, image), np.arange(size)] += sign * phase
    projector /= len(character)
    real_basis = np.zeros((size, size), dtype=np.complex128)
    for column, i in enumerate(np.flatnonzero(np.arange(size) < partner)):
        # sqrt(2) cos(G . r) and sqrt(2) sin(G . r) as sums of exp(+-i G . r).
        real_basis[[i, partner[i]], 2 * column] = np.sqrt(0.5)
        real_basis[[i, partner[i]], 2 * column + 1] = -1j * np.sqrt(0.5), 1j * np.sqrt(0.5)
    adapted = (real_basis.conj().T @ projector @ real_basis).real
    values, vectors = np.linalg.eigh((adapted + adapted.T) / 2)
    return [(members, real_basis @ vectors[:, n]) for n in np.flatnonzero(values > 0.5)]


def _blocks(
    stars: list[IntArray],
    rows: list[list[tuple[IntArray, ComplexArray]]],
    images: IntArray,
    phases: ComplexArray,
    gvectors: GVectors,
) -> tuple[Block, ...]:
    """The functions of each star, turned by each coset representative, as matrices over members of G."""
    n_cosets = len(images)
    found, members, functions, end = [], list[IntArray](), list[tuple[IntArray, ComplexArray]](), 0
    for i, (star, here) in enumerate(zip(stars, rows, strict=True)):
        members, functions = [*members, star], [*functions, *here]
        n_members = sum(len(m) for m in members)
        if functions and (n_members * len(functions) * n_cosets >= _BLOCK_ENTRIES or i == len(stars) - 1):
            matrix = _matrix(np.concatenate(members), functions, images, phases, gvectors)
            end += len(functions)
            found.append(Block(np.concatenate(members), slice(end - len(functions), end), matrix))
            members, functions = [], []
    return tuple(found)


def _matrix(
    members: IntArray,
    functions: list[tuple[IntArray, ComplexArray]],
    images: IntArray,
    phases: ComplexArray,
    gvectors: GVectors,
) -> SingleComplexArray:
    place = np.full(len(gvectors.millers), -1, dtype=np.int64)
    place[members] = np.arange(len(members))
    matrix = np.zeros((len(members), len(images), len(functions)), dtype=np.complex128)
    for coset, (image, phase) in enumerate(zip(images, phases, strict=True)):
        for i, (of, coefficients) in enumerate(functions):
            matrix[place[image[of]], coset, i] = coefficients * phase[of] / gvectors.lengths[of]
    single: SingleComplexArray = matrix.reshape(len(members), -1).astype(np.complex64)
    return single
