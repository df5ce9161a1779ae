"""One image of every k-point in the same corner of the Brillouin zone.

A basis that follows the bands through a small, compact region needs few functions. The image +-k R + G
nearest to the origin lies in the first zone; of all such images the one that lies furthest along a
generic direction is in the same corner for every star: a Dirichlet domain of the point group, which is
convex and cannot be made smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray, IntArray, star_images, stars_of

# Lies on no mirror plane and no axis of any crystal.
_GENERIC = np.array([0.8299, 0.4703, 0.2993])

# Reciprocal vectors that may lead to the nearest image, in either direction.
_NEIGHBOURS = 2


@dataclass(frozen=True, eq=False)
class ZoneSample:
    """The inequivalent points of a grid.

    kpoints: crystal coordinates, in the wedge, shape ``(n_k, 3)``
    weights: sum 1, shape ``(n_k,)``: number of grid points each stands for, times the size of its star
             unless the grid holds whole stars
    """

    kpoints: FloatArray
    weights: FloatArray


def sample_zone(grid: FloatArray, reciprocal: FloatArray, rotations: IntArray) -> ZoneSample:
    """The inequivalent points of a full, possibly shifted ``grid``, each in the wedge.

    ``reciprocal``: rows are the reciprocal vectors; ``rotations``: the point group on fractional
    positions, as in :mod:`farm.kpoints`.
    """
    stars = stars_of(star_images(grid, rotations))
    # A grid that holds whole stars counts their members already.
    weights = stars.counts if stars.are_whole else stars.counts * stars.sizes
    return ZoneSample(fold_into_wedge(grid[stars.first], reciprocal, rotations), weights / weights.sum())


def fold_into_wedge(kpoints: FloatArray, reciprocal: FloatArray, rotations: IntArray) -> FloatArray:
    """The image of every k-point in the wedge, shape as ``kpoints``; its bands are the same."""
    axis = np.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    steps = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    near = (kpoints - np.rint(kpoints))[:, None] + steps
    nearest = np.argmin(np.linalg.norm(near @ reciprocal, axis=-1), axis=1)
    inside = near[np.arange(len(kpoints)), nearest]
    # Rotations keep the length: every image of the nearest point is in the first zone, too.
    images = np.einsum("ki,rij->krj", inside, rotations)
    images = np.concatenate([images, -images], axis=1)
    furthest = np.argmax(images @ reciprocal @ _GENERIC, axis=1)
    folded: FloatArray = images[np.arange(len(kpoints)), furthest]
    return folded
