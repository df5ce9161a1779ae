"""The symmetry that yambo can use, and the k-points that make its sampling that of the full crystal; pure.

yambo takes every listed k-point for its star under the rotations of SAVE (and time reversal), whatever its
weight. It knows no fractional translations. So the list holds every point of the protocol's grid once, as
often as it stands there, and for each coset of the symmorphic rotations in the point group an image of it:
the stars of those are together the star under the full group. The band calculation runs without symmetry,
since pw.x would complete the list in its own way; p2y is told of the rotations afterwards.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

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

# pw.x refuses lists of 40,000; at this number a run takes days.
MOST_KPOINTS = 10_000

# A fractional translation closer to a lattice vector than this is none.
_SHIFT_TOLERANCE = 1e-6
# Vectors of two cells that are one, bohr.
_CELL_TOLERANCE_BOHR = 1e-5

_NAMESPACES = {
    "qes": "http://www.quantum-espresso.org/ns/qes/qes-1.0",
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
}
_CELL = "output/atomic_structure/cell"
_SYMMETRIES = "output/symmetries"
_FLAGS = "input/symmetry_flags"


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
    kept = _symmorphic(_parsed(scf_xml))
    rows = [_numbers(_found(element, "rotation")) for element in kept]
    return np.array(rows).round().astype(np.int64).reshape(-1, 3, 3)


def symmorphic_save_xml(nscf_xml: str, scf_xml: str) -> str:
    """The data file of a band calculation without symmetry, with the symmetry of its ground state.

    Operations with fractional translations are left out: p2y refuses them.

    Raises CalculationError for files that are not complete, or not of one cell.
    """
    bands, ground_state = _parsed(nscf_xml), _parsed(scf_xml)
    if np.abs(_cell(bands) - _cell(ground_state)).max() > _CELL_TOLERANCE_BOHR:
        raise CalculationError("ground state and bands are not of one cell")
    kept = _symmorphic(ground_state)
    block = _found(bands, _SYMMETRIES)
    for old in block.findall("symmetry"):
        block.remove(old)
    block.extend(kept)
    _found(block, "nsym").text = str(len(kept))
    _found(block, "nrot").text = str(len(kept))
    # p2y takes these for the symmetry of the wavefunctions, too.
    flags = _found(bands, _FLAGS)
    for name in ("nosym", "noinv"):
        _found(flags, name).text = "false"
    for prefix, uri in _NAMESPACES.items():
        ET.register_namespace(prefix, uri)
    # As pw.x writes them: p2y reads tags with a parser of its own.
    body = ET.tostring(bands, encoding="unicode", short_empty_elements=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def inequivalent_axes(crystal: Crystal, group: SpaceGroup) -> tuple[int, int, int]:
    """For x, y and z the first of them along which the dielectric tensor has the same element."""
    x, y, z = equivalent_directions(operations(group, crystal.lattice), AXES)
    return x, y, z


def _symmorphic(root: ET.Element) -> list[ET.Element]:
    kept = []
    for element in _found(root, _SYMMETRIES).findall("symmetry"):
        if (element.findtext("info") or "").strip() != "crystal_symmetry":
            continue
        shift = np.array(_numbers(_found(element, "fractional_translation")))
        if np.abs(shift - np.rint(shift)).max() < _SHIFT_TOLERANCE:
            kept.append(element)
    if not kept:
        raise CalculationError("data-file-schema.xml holds no symmetry operations")
    return kept


def _cell(root: ET.Element) -> FloatArray:
    return np.array([_numbers(_found(root, f"{_CELL}/a{i}")) for i in (1, 2, 3)])


def _parsed(xml: str) -> ET.Element:
    try:
        return ET.fromstring(xml)  # noqa: S314  # written by pw.x in our own scratch
    except ET.ParseError as error:
        raise CalculationError(f"data-file-schema.xml is not complete: {error}") from error


def _found(parent: ET.Element, path: str) -> ET.Element:
    found = parent.find(path)
    if found is None:
        raise CalculationError(f"data-file-schema.xml holds no {path}")
    return found


def _numbers(element: ET.Element) -> list[float]:
    return [float(value) for value in (element.text or "").split()]
