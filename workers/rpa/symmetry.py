"""Symmetry-adapted real functions for the response along x, y and z.

The full response is the average over the space group of the response of the irreducible k-points.
For a field along a only functions matter that transform like the field under the subgroup
H_a = {S : R e_a = +-e_a}: the one-dimensional representation chi with R e_a = chi(S) e_a. Let f_i be
an orthonormal basis of that space and C representatives of the cosets of H_a in the group; then

    <f_i| sum_S S X_k S^-1 |f_j> / n_S = sum_C <C f_i| X_k |C f_j> / n_C,

and the same with C e_a for the head. The f_i are cos and sin of G . r, so that time reversal (the
stars hold -k as well) leaves only the real part of the spectral matrix.

An operation S = {R|t} maps exp(i G . r) to exp(-i RG . t) exp(i RG . r).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from farm.kpoints import FloatArray, IntArray, SpaceGroup
from farm.spectrum import ComplexArray
from workers.rpa.gvectors import GVectors

_AXIS_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Channel:
    """Directions that share one body matrix.

    directions: Cartesian axes (0, 1, 2) whose heads this channel carries
    heads:      C e_a for each coset and direction, shape ``(n_cosets, n_directions, 3)``
    functions:  C f_i / |G| as rows over G, sparse complex, shape ``(n_cosets * n_functions, n_g)``
    n_functions: how many f_i each Gmax takes, one a Gmax (ordered by |G|, so leading ones)
    """

    directions: tuple[int, ...]
    heads: FloatArray
    functions: csr_array
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
    """The operations of ``group`` for a cell with rows ``lattice`` (any unit)."""
    columns = lattice.T
    cartesian = columns @ group.rotations @ np.linalg.inv(columns)
    return Operations(group.rotations, group.translations, cartesian)


def equivalent_directions(ops: Operations) -> tuple[int, int, int]:
    """For x, y, z the first axis that has the same diagonal element of every invariant tensor.

    e_a e_a^T and e_b e_b^T with equal averages over the group have it: all three of a cubic crystal,
    x and y of a hexagonal one.
    """
    averages = np.einsum("rin,rjn->nij", ops.cartesian, ops.cartesian) / len(ops.cartesian)
    found = []
    for axis in range(3):
        same = [b for b in range(axis) if np.allclose(averages[b], averages[axis], atol=_AXIS_TOLERANCE)]
        found.append(same[0] if same else axis)
    return (found[0], found[1], found[2])


def channels(ops: Operations, gvectors: GVectors) -> tuple[Channel, ...]:
    """One channel for each set of inequivalent directions with the same H and character."""
    first = equivalent_directions(ops)
    grouped: dict[bytes, list[int]] = {}
    for axis in sorted(set(first)):
        grouped.setdefault(_character(ops, axis).tobytes(), []).append(axis)
    return tuple(_channel(ops, gvectors, tuple(axes)) for axes in grouped.values())


def _character(ops: Operations, axis: int) -> IntArray:
    # +1 or -1 where R e_a = +-e_a, 0 outside H_a.
    images = ops.cartesian[:, :, axis]
    along = np.abs(np.abs(images[:, axis]) - 1) < _AXIS_TOLERANCE
    return np.where(along, np.rint(images[:, axis]), 0).astype(np.int64)


def _channel(ops: Operations, gvectors: GVectors, axes: tuple[int, ...]) -> Channel:
    character = _character(ops, axes[0])
    images, phases = _images(ops, gvectors.millers)
    inside = np.flatnonzero(character)
    rows = [
        row
        for orbit in _orbits(gvectors.millers, images[inside])
        for row in _orbit_functions(orbit, images[inside], phases[inside], character[inside])
    ]
    # By |G|: the functions of a smaller Gmax are then a leading block.
    rows.sort(key=lambda row: int(gvectors.shells[row[0][0]]))
    starts = np.array([row[0].min() for row in rows], dtype=np.int64)
    reps = _coset_representatives(ops, axes[0])
    return Channel(
        directions=axes,
        heads=ops.cartesian[reps][:, :, list(axes)].transpose(0, 2, 1),
        functions=_sparse(rows, images[reps], phases[reps], gvectors),
        n_functions=tuple(int(np.count_nonzero(starts < n)) for n in gvectors.n_g),
    )


def _coset_representatives(ops: Operations, axis: int) -> list[int]:
    # C H and C' H differ exactly where C e_a and C' e_a are different lines.
    found: list[int] = []
    for i, image in enumerate(ops.cartesian[:, :, axis]):
        if all(abs(abs(image @ ops.cartesian[j, :, axis]) - 1) > _AXIS_TOLERANCE for j in found):
            found.append(i)
    return found


def _images(ops: Operations, millers: IntArray) -> tuple[IntArray, ComplexArray]:
    """Index of RG and the factor exp(-i RG . t), both of shape ``(n_operations, n_g)``."""
    index = {tuple(m): i for i, m in enumerate(millers.tolist())}
    inverses = np.rint(np.linalg.inv(ops.rotations)).astype(np.int64)
    turned = millers[None] @ inverses
    images = np.array([[index[tuple(m)] for m in row] for row in turned.tolist()], dtype=np.int64)
    phases = np.exp(-2j * np.pi * np.einsum("sgi,si->sg", turned, ops.translations))
    return images, phases


def _orbits(millers: IntArray, images: IntArray) -> list[IntArray]:
    # Sets of G (without 0) closed under H and under G -> -G.
    index = {tuple(m): i for i, m in enumerate(millers.tolist())}
    minus = np.array([index[tuple(m)] for m in (-millers).tolist()])
    seen = np.zeros(len(millers), dtype=bool)
    found = []
    for g in range(1, len(millers)):
        if not seen[g]:
            orbit = np.unique(np.concatenate([images[:, g], minus[images[:, g]]]))
            seen[orbit] = True
            # -G of orbit[i] is found by position: needed for cos and sin below.
            found.append(np.stack([orbit, np.searchsorted(orbit, minus[orbit])]))
    return found


def _orbit_functions(
    orbit: IntArray, images: IntArray, phases: ComplexArray, character: IntArray
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


def _sparse(
    rows: list[tuple[IntArray, ComplexArray]], images: IntArray, phases: ComplexArray, gvectors: GVectors
) -> csr_array:
    n_g = len(gvectors.millers)
    data, columns, row_index = [], [], []
    for coset, (image, phase) in enumerate(zip(images, phases, strict=True)):
        for i, (members, coefficients) in enumerate(rows):
            data.append(coefficients * phase[members] / gvectors.lengths[members])
            columns.append(image[members])
            row_index.append(np.full(len(members), coset * len(rows) + i))
    if not data:
        return csr_array((0, n_g), dtype=np.complex128)
    entries = (np.concatenate(data), (np.concatenate(row_index), np.concatenate(columns)))
    return csr_array(entries, shape=(len(images) * len(rows), n_g))
