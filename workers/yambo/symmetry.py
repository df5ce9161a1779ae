"""The symmetry that yambo can use, and the k-points that make its sampling that of the full crystal; pure.

yambo takes every listed k-point for its star under the rotations of SAVE (and time reversal), whatever its
weight. It knows no fractional translations. So the list holds every point of the protocol's grid once, as
often as it stands there, and for each coset of the symmorphic rotations in the point group an image of it:
the stars of those are together the star under the full group. The band calculation runs without symmetry,
since pw.x would complete the list in its own way; p2y is told of the rotations afterwards.
"""

from __future__ import annotations

import numpy as np

from farm.compact_cell import CompactCell
from farm.crystal import Crystal
from farm.errors import CalculationError, CrystalError
from farm.kpoints import (
    FloatArray,
    IntArray,
    SpaceGroup,
    grid_divisions,
    shifted_grid,
    space_group,
    star_images,
)
from farm.protocol import Protocol
from workers.rpa.symmetry import AXES, equivalent_directions, operations
from workers.rpa.weights import count_merged, yambo_tolerance
from workers.yambo import save_symmetry

# pw.x refuses lists of 40,000; at this number a run takes days.
MOST_KPOINTS = 10_000


def yambo_kpoints(
    crystal: Crystal, cell: CompactCell, protocol: Protocol, rotations: IntArray
) -> FloatArray:
    """The k-points of the band calculation, in the reciprocal vectors of ``cell``, shape ``(n_k, 3)``.

    rotations: that SAVE will hold (:func:`symmorphic_rotations`), on fractional positions in ``cell``

    Raises CrystalError where they would be too many.
    """
    divisions = grid_divisions(crystal, protocol.response_kppa, even=True)
    listed = cell.kpoints(shifted_grid(divisions, protocol.response_kshift))
    group = space_group(cell.crystal)
    completed = complete_list(listed, group.point_group, rotations)
    if len(completed) > MOST_KPOINTS:
        raise CrystalError(
            f"{crystal.material_id}: yambo would need {len(completed)} k-points, because pw.x found"
            f" {len(rotations)} symmorphic operations of {len(group.point_group)}",
            fix="Refine the structure to its symmetry, or use the native engine",
        )
    return completed


def complete_list(kpoints: FloatArray, point_group: IntArray, rotations: IntArray) -> FloatArray:
    """Each point, and images of it whose stars under ``rotations`` make up the rest of its full star.

    Stars are under {R} and {-R}; ``rotations`` are among ``point_group``.
    """
    completed = []
    for k in kpoints:
        images = np.einsum("i,rij->rj", k, point_group)
        # The point itself is the first of its own star.
        images = np.concatenate([k[None], images, -images]) % 1.0
        names = star_images(images, rotations)[:, 0]
        _, first = np.unique(names, return_index=True)
        completed.append(images[np.sort(first)])
    return np.concatenate(completed)


def sampled_points(kpoints: FloatArray, rotations: IntArray) -> tuple[int, int]:
    """Members of the stars of a list that yambo tells apart, and that there are.

    On grids of six points an axis and fewer it takes close members for one.
    """
    found = count_merged(kpoints, rotations, yambo_tolerance(kpoints))
    sizes = 1 + np.count_nonzero(np.diff(star_images(kpoints, rotations), axis=1), axis=1)
    return int(found.sum()), int(sizes.sum())


def symmorphic_rotations(scf_xml: str) -> IntArray:
    """Rotations without fractional translations that pw.x found, on fractional positions.

    Raises CalculationError where the file holds none.
    """
    try:
        kept = save_symmetry.symmorphic(save_symmetry.parsed(scf_xml))
        rows = [save_symmetry.numbers(save_symmetry.found(element, "rotation")) for element in kept]
    except ValueError as error:
        raise CalculationError(str(error)) from error
    return np.array(rows).round().astype(np.int64).reshape(-1, 3, 3)


def symmorphic_save_xml(nscf_xml: str, scf_xml: str) -> str:
    """The data file of a band calculation without symmetry, with the symmetry of its ground state.

    Operations with fractional translations are left out: p2y refuses them.

    Raises CalculationError for files that are not complete, or not of one cell.
    """
    try:
        return save_symmetry.with_symmetry(nscf_xml, scf_xml)
    except ValueError as error:
        raise CalculationError(str(error)) from error


def inequivalent_axes(crystal: Crystal, group: SpaceGroup) -> tuple[int, int, int]:
    """For x, y and z the first of them along which the dielectric tensor has the same element."""
    x, y, z = equivalent_directions(operations(group, crystal.lattice), AXES)
    return x, y, z
