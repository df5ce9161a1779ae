"""The path through the zone on which a band structure is drawn.

Corners as in Hinuma, Pizzi, Kumagai, Oba, Tanaka, Comput. Mater. Sci. 128, 140 (2017), by seekpath, in the
reciprocal vectors of the cell as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.crystal import Crystal
from farm.kpoints import FloatArray, space_group_cell


@dataclass(frozen=True, kw_only=True, eq=False)
class BandPath:
    """Points along a path.

    kpoints:   crystal coordinates, shape ``(n_points, 3)``
    distances: along the path, 1/angstrom; a jump has length 0, shape ``(n_points,)``
    corners:   numbers of the points that are corners; labels: their names
    """

    kpoints: FloatArray
    distances: FloatArray
    corners: tuple[int, ...]
    labels: tuple[str, ...]


def band_path(crystal: Crystal, n_points: int) -> BandPath:
    """About ``n_points`` points, evenly spaced, both ends of every segment among them."""
    import seekpath

    # Primitive or not: the path is given in the reciprocal vectors of this cell.
    found = seekpath.get_path_orig_cell(space_group_cell(crystal), symprec=0.01)
    reciprocal = 2 * np.pi * np.linalg.inv(crystal.lattice).T
    coordinates = {name: np.array(k, dtype=np.float64) for name, k in found["point_coords"].items()}
    segments = [(a, b, coordinates[a], coordinates[b]) for a, b in found["path"]]
    lengths = [float(np.linalg.norm((end - start) @ reciprocal)) for _, _, start, end in segments]
    spacing = sum(lengths) / max(n_points - len(segments), 1)
    kpoints: list[FloatArray] = []
    distances: list[FloatArray] = []
    corners: list[int] = []
    labels: list[str] = []
    n_done, travelled, last = 0, 0.0, ""
    for (name, next_name, start, end), length in zip(segments, lengths, strict=True):
        n_steps = max(1, round(length / spacing))
        # A segment that begins where the last one ended shares the point with it.
        first = 1 if name == last else 0
        share = np.arange(first, n_steps + 1) / n_steps
        if not first:
            corners.append(n_done)
            labels.append(name)
        kpoints.append(start + share[:, None] * (end - start))
        distances.append(travelled + share * length)
        n_done += share.size
        travelled += length
        corners.append(n_done - 1)
        labels.append(next_name)
        last = next_name
    return BandPath(
        kpoints=np.concatenate(kpoints),
        distances=np.concatenate(distances),
        corners=tuple(corners),
        labels=tuple(labels),
    )
