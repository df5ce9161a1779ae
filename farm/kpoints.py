"""k-point grids and their reduction by symmetry; pure, shared by cost prediction and the workers.

k-points are rows of crystal coordinates (units of the reciprocal vectors), shape ``(n_k, 3)``.
Rotations act on crystal k-coordinates as ``k @ R`` with R the integer matrix spglib gives for
fractional positions (x' = R x + t); with time reversal -k is equivalent to k.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import CrystalError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# Two k-points this close (crystal units) are one; the published shift is 1/64 at the smallest.
K_TOLERANCE = 1e-6
_CELLS = round(1 / K_TOLERANCE)
# Three folded coordinates as the digits of one number: 1e18 at most, which still fits 64 bits.
_DIGITS = np.array([_CELLS * _CELLS, _CELLS, 1])


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """The space group of a crystal as spglib finds it.

    number, symbol: international number (1-230) and short symbol
    rotations:      integer matrices on fractional coordinates, shape ``(n_ops, 3, 3)``
    translations:   fractional, shape ``(n_ops, 3)``
    """

    number: int
    symbol: str
    rotations: IntArray
    translations: FloatArray

    @cached_property
    def point_group(self) -> IntArray:
        """The distinct rotations, shape ``(n_rotations, 3, 3)``."""
        return np.unique(self.rotations, axis=0)

    @cached_property
    def inversions(self) -> IntArray:
        """Numbers of the operations x -> -x + t; none where there is no centre of inversion."""
        return np.flatnonzero((self.rotations == -np.eye(3, dtype=np.int64)).all(axis=(1, 2)))


def space_group(crystal: Crystal, symprec: float = 0.01) -> SpaceGroup:
    """Find the space group. Raises CrystalError when spglib finds none."""
    import spglib

    dataset = spglib.get_symmetry_dataset(space_group_cell(crystal), symprec=symprec)
    if dataset is None:
        raise CrystalError(f"{crystal.material_id}: no space group was found", fix="Check the cell")
    return SpaceGroup(
        number=int(dataset.number),
        symbol=str(dataset.international),
        rotations=np.asarray(dataset.rotations, dtype=np.int64),
        translations=np.asarray(dataset.translations, dtype=np.float64),
    )


def space_group_cell(
    crystal: Crystal,
) -> tuple[tuple[tuple[float, float, float], ...], tuple[tuple[float, float, float], ...], list[int]]:
    """The cell as spglib and seekpath take it: lattice, positions, a number for each element."""
    numbers = {symbol: i + 1 for i, symbol in enumerate(sorted(crystal.elements))}
    return crystal.lattice_angstrom, crystal.frac_coords, [numbers[s] for s in crystal.species]


def grid_divisions(crystal: Crystal, kppa: int, *, even: bool) -> tuple[int, int, int]:
    """Divisions along the reciprocal vectors for ``kppa`` k-points times atoms.

    floor(max((kppa/n_atoms * a b c)^(1/3) / length, 1)) per axis, the rule of pymatgen's
    ``Kpoints.automatic_density`` used by the published protocol; ``even`` rounds each up to even.
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    mean = (kppa / crystal.n_atoms * float(np.prod(lengths))) ** (1 / 3)
    # 1e-9: a quotient that is an integer but for round-off counts as that integer.
    divisions = [int(max(np.floor(mean / length + 1e-9), 1)) for length in lengths]
    if even:
        divisions = [n + n % 2 for n in divisions]
    return (divisions[0], divisions[1], divisions[2])


def shifted_grid(divisions: tuple[int, int, int], shift: tuple[float, float, float]) -> FloatArray:
    """The full grid i/N + shift in crystal coordinates, shape ``(N1 N2 N3, 3)``, third axis fastest."""
    axes = [np.arange(n) / n + s for n, s in zip(divisions, shift, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def reduce_kpoints(kpoints: FloatArray, rotations: IntArray) -> tuple[FloatArray, IntArray]:
    """One representative of each set of symmetry-equivalent members of a list.

    Equivalent means k' = +-(k R) modulo a reciprocal vector for a rotation R of the point group.
    The list need not be closed under the group (the published shifted grid is not).

    Returns the representatives, shape ``(n_reduced, 3)``, in list order, and how many members of
    the list each stands for, shape ``(n_reduced,)``.
    """
    _, first, inverse = np.unique(_star_keys(kpoints, rotations), return_index=True, return_inverse=True)
    order = np.argsort(first)
    multiplicity = np.bincount(inverse.ravel(), minlength=first.size)
    return kpoints[first[order]], multiplicity[order].astype(np.int64)


def count_inequivalent(
    divisions: tuple[int, int, int], shift: tuple[float, float, float], rotations: IntArray
) -> int:
    """How many points of :func:`shifted_grid` are left by :func:`reduce_kpoints`; rotations may repeat.

    Thousands of crystals share a few hundred pairs of divisions and rotations: each is reduced once.
    """
    return _count_inequivalent(divisions, shift, rotations.astype(np.int8).tobytes())


@lru_cache(maxsize=4096)
def _count_inequivalent(
    divisions: tuple[int, int, int], shift: tuple[float, float, float], packed: bytes
) -> int:
    rotations = np.unique(np.frombuffer(packed, dtype=np.int8).reshape(-1, 3, 3), axis=0)
    return len(reduce_kpoints(shifted_grid(divisions, shift), rotations.astype(np.int64))[0])


@dataclass(frozen=True, eq=False)
class Stars:
    """The stars that the members of a list belong to.

    first:  number of the first member of each in the list, shape ``(n_stars,)``
    of:     number of the star of each member, shape ``(n_k,)``
    counts: members in the list; sizes: members there are, under {R} and {-R}, shape ``(n_stars,)``
    """

    first: IntArray
    of: IntArray
    counts: IntArray
    sizes: IntArray

    @property
    def are_whole(self) -> bool:
        """Whether the list holds every member of each star."""
        return np.array_equal(self.counts, self.sizes)


def stars_of(images: IntArray) -> Stars:
    """The stars of a list with these images (:func:`star_images`)."""
    _, first, of = np.unique(images[:, 0], return_index=True, return_inverse=True)
    sizes = 1 + np.count_nonzero(np.diff(images[first], axis=1), axis=1)
    return Stars(first, of, np.bincount(of), sizes)


def star(k: FloatArray, rotations: IntArray) -> FloatArray:
    """The distinct images of k under {R} and {-R}, folded into [0, 1), shape ``(n_star, 3)``."""
    return points_of_keys(np.unique(star_images(k[None], rotations)))


def star_images(kpoints: FloatArray, rotations: IntArray) -> IntArray:
    """Every image of every k under {R} and {-R} as one integer, shape ``(n_k, 2 n_rotations)``.

    Rows are sorted; equal integers are equal points modulo a reciprocal vector. The first of a row
    names the star, and the number of different ones is its size.
    """
    images = np.einsum("ki,rij->krj", kpoints, rotations)
    images = np.concatenate([images, -images], axis=1)
    return np.sort(point_keys(images), axis=1)


def point_keys(kpoints: FloatArray) -> IntArray:
    """One integer for each k-point modulo reciprocal vectors; the last axis holds coordinates."""
    keys: IntArray = _fold(kpoints) @ _DIGITS
    return keys


def points_of_keys(keys: IntArray) -> FloatArray:
    """The inverse of :func:`point_keys`: coordinates folded into [0, 1), shape ``(..., 3)``."""
    points: FloatArray = (keys[..., None] // _DIGITS % _CELLS) * K_TOLERANCE
    return points


def _star_keys(kpoints: FloatArray, rotations: IntArray) -> IntArray:
    """One integer for each k, the same for all members of a star; shape ``(n_k,)``."""
    # The smallest image names the star.
    keys = np.full(len(kpoints), np.iinfo(np.int64).max)
    for rotation in rotations:  # one at a time: all images at once would need 100 copies of the list
        images = kpoints @ rotation
        for image in (images, -images):
            np.minimum(keys, point_keys(image), out=keys)
    return keys


def _fold(kpoints: FloatArray) -> IntArray:
    # As integer multiples of the tolerance, so that equality is exact.
    return np.rint((kpoints % 1.0) * _CELLS).astype(np.int64) % _CELLS
