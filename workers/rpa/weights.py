"""How much of the Brillouin zone each k-point of a list stands for.

A shifted list is a sample of points each of which stands for its whole star (under {R} and {-R}):
weight = multiplicity in the list times size of the star. The stars are not all of one size (in fcc the
published shift lies on a mirror plane: 24 members instead of 48), and pw.x' own weights of such a list
mean nothing. Equivalent members are computed once.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from farm.errors import InputError
from farm.kpoints import (
    K_TOLERANCE,
    FloatArray,
    IntArray,
    SpaceGroup,
    point_keys,
    points_of_keys,
    star_images,
    stars_of,
)
from workers.rpa.save import Save

WeightRule = Literal["exact", "yambo"]

# A grid is not told from arbitrary points by more divisions than this.
_MOST_DIVISIONS = 128

# Fractional translations closer to a lattice vector than this are none.
_SHIFT_TOLERANCE = 1e-4


def kpoint_weights(save: Save, group: SpaceGroup, rule: WeightRule = "exact") -> FloatArray:
    """Weight of each k-point of the save, shape ``(n_k,)``, sum 1; 0 for equivalents of an earlier one.

    Where the list holds whole stars already (a full grid), or pw.x reduced a Monkhorst-Pack grid, its
    weights are final. One of each star of a grid that is closed under the group weighs as much as its
    star, whatever weight it was given. Unequal weights of other lists are multiplicities. ``yambo``
    counts stars as YAMBO does, which loses members on coarse grids.

    Raises InputError for a list that is no sampling of the zone (a path of a band structure).
    """
    listed = np.flatnonzero(save.weights > 0)
    kpoints, given = save.kpoints[listed], save.weights[listed]
    images = star_images(kpoints, group.point_group)
    stars = stars_of(images)
    # One of each star of a closed grid: its star is all that a point stands for.
    is_reduced = save.weights_final or (_is_grid(images) and not stars.are_whole)
    if not (is_reduced or stars.are_whole) and np.ptp(given) < K_TOLERANCE:
        _require_grid(save, kpoints, images)  # no weights were given: they follow from a grid
    if rule == "yambo":
        counts = count_merged(kpoints, yambo_rotations(save, group), yambo_tolerance(kpoints))
        summed = np.bincount(stars.of, weights=counts if is_reduced else given * counts)
    elif save.weights_final or stars.are_whole:
        summed = np.bincount(stars.of, weights=given)
    else:
        summed = stars.sizes if is_reduced else stars.sizes * np.bincount(stars.of, weights=given)
    weights = np.zeros(len(save.kpoints))
    weights[listed[stars.first]] = summed / summed.sum()
    return weights


def _is_grid(images: IntArray) -> bool:
    """True when the members of all stars are together the points of one regular grid."""
    keys = np.unique(images)
    divisions = [n for n in map(_divisions, points_of_keys(keys).T) if n is not None]
    return len(divisions) == 3 and int(np.prod(divisions)) == keys.size


def _require_grid(save: Save, kpoints: FloatArray, images: IntArray) -> None:
    """Refuse lists whose stars do not hold every point of the regular grid that the list spans."""
    divisions = [n for n in map(_divisions, kpoints.T) if n is not None]
    if len(divisions) == 3:
        axes = [np.arange(n) / n + k for n, k in zip(divisions, kpoints[0], strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        if np.isin(point_keys(grid), images).all():
            return
    raise InputError(
        f"{save.directory}: its {len(kpoints)} k-points are no regular grid, nor one of each of its stars",
        fix="Run the nscf step on a grid, full or reduced by symmetry, not on a path",
    )


def _divisions(coordinates: FloatArray) -> int | None:
    """The smallest N for which all coordinates differ by multiples of 1/N; None: there is none."""
    differences = np.unique(np.round(coordinates - coordinates[0], 6))
    for n in range(1, _MOST_DIVISIONS + 1):
        if np.abs(differences * n - np.rint(differences * n)).max() < n * 10 * K_TOLERANCE:
            return n
    return None


def yambo_rotations(save: Save, group: SpaceGroup) -> IntArray:
    """Those without a fractional translation, in the order of pw.x: which of two members that YAMBO
    takes for one is counted depends on it."""
    shifts = group.translations - np.rint(group.translations)
    symmorphic = group.rotations[np.abs(shifts).max(axis=1) < _SHIFT_TOLERANCE]
    known = {rotation.tobytes() for rotation in symmorphic}
    ordered = [rotation for rotation in save.rotations if rotation.tobytes() in known]
    return np.array(ordered) if len(ordered) == len(symmorphic) else symmorphic


def yambo_tolerance(kpoints: FloatArray) -> float:
    """Below this distance along each axis YAMBO takes two k-points for one: about 1/(10 N_max)."""
    gaps = [np.diff(np.unique(np.round(np.abs(axis), 6))) for axis in kpoints.T]
    return min((float(gap[0]) / 10 for gap in gaps if gap.size), default=K_TOLERANCE)


def count_merged(kpoints: FloatArray, rotations: IntArray, tolerance: float) -> IntArray:
    """Members of each star that are further than the tolerance from every one found before."""
    images = np.einsum("ki,rij->krj", kpoints, rotations)
    images = np.concatenate([images, -images], axis=1)
    found = np.zeros(images.shape[:2], dtype=bool)
    for i in range(images.shape[1]):
        distance = images[:, i : i + 1] - images[:, :i]
        distance = np.abs(distance - np.rint(distance)).max(axis=-1)
        found[:, i] = ~((distance < tolerance) & found[:, :i]).any(axis=1)
    n_found: IntArray = found.sum(axis=1)
    return n_found
