"""The path of a band structure: corners, labels, distances, jumps, in the vectors of any cell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from farm.compact_cell import compact_cell
from farm.crystal import Crystal, crystal_from_structure
from workers.reduced_basis.path import BandPath, band_path

DIAMOND = Crystal(
    "C", ((0, 1.78, 1.78), (1.78, 0, 1.78), (1.78, 1.78, 0)), ("C", "C"), ((0, 0, 0), (0.25,) * 3)
)
NITRIDE = crystal_from_structure(
    Structure.from_spacegroup(
        "P6_3/mmc",
        Lattice.hexagonal(2.504, 6.661),
        ["B", "N"],
        [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25]],
    )
)
TRICLINIC = Crystal(
    "LiF", ((0.1, 2.0, 2.1), (2.0, 0, 1.9), (2.1, 2.2, 0)), ("Li", "F"), ((0, 0, 0), (0.5,) * 3)
)
A, C = 3.2, 8.9
TETRAGONAL = Crystal(
    "bct",
    ((-A / 2, A / 2, C / 2), (A / 2, -A / 2, C / 2), (A / 2, A / 2, -C / 2)),
    ("Si", "O", "O"),
    ((0, 0, 0), (0.37, 0.37, 0), (0.63, 0.63, 0)),
)
CELLS = {"diamond": DIAMOND, "h-BN": NITRIDE, "triclinic": TRICLINIC, "tetragonal": TETRAGONAL}


def cartesian(path: BandPath, cell: Crystal) -> np.ndarray:
    """1/angstrom."""
    return path.kpoints @ (2 * np.pi * np.linalg.inv(cell.lattice).T)


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("n_points", [60, 100, 400])
def test_as_many_points_as_asked_and_evenly_spaced(name: str, n_points: int) -> None:
    path = band_path(CELLS[name], n_points)
    travelled = np.diff(path.distances)
    steps = np.linalg.norm(np.diff(cartesian(path, CELLS[name]), axis=0), axis=1)
    # A step is a step in k-space; a jump from corner to corner has no length; no way is made backwards.
    jumps = {a for a, b in pairwise(path.corners) if b == a + 1 and travelled[a] == 0}
    walked = np.setdiff1d(np.arange(len(steps)), list(jumps))
    np.testing.assert_allclose(travelled[walked], steps[walked], atol=1e-9)
    assert np.all(travelled[walked] > 0)
    # Each segment is divided into whole steps.
    assert abs(len(path.kpoints) - n_points) <= len(path.corners) - len(jumps)
    assert path.kpoints.shape == (*path.distances.shape, 3)
    usual = np.median(travelled[walked])
    if n_points == 400:
        assert np.all(np.abs(travelled[walked] / usual - 1) < 0.35)


@pytest.mark.parametrize("name", list(CELLS))
def test_corners_have_names_and_segments_are_straight(name: str) -> None:
    path = band_path(CELLS[name], 90)
    assert len(path.corners) == len(path.labels)
    assert (path.corners[0], path.corners[-1]) == (0, len(path.kpoints) - 1)
    assert list(path.corners) == sorted(set(path.corners))
    places: dict[str, np.ndarray] = {}
    for corner, label in zip(path.corners, path.labels, strict=True):
        np.testing.assert_allclose(places.setdefault(label, path.kpoints[corner]), path.kpoints[corner])
    np.testing.assert_array_equal(places["GAMMA"], 0.0)
    for a, b in pairwise(path.corners):
        middle = path.kpoints[a : b + 1]
        share = np.linspace(0, 1, len(middle))[:, None]
        np.testing.assert_allclose(middle, middle[0] + share * (middle[-1] - middle[0]), atol=1e-12)


def test_corners_of_the_fcc_zone() -> None:
    path = band_path(DIAMOND, 60)
    assert path.labels == ("GAMMA", "X", "U", "K", "GAMMA", "L", "W", "X")
    edge = 2 * np.pi / 3.56  # 1/angstrom
    lengths = dict(
        zip(path.labels, np.linalg.norm(cartesian(path, DIAMOND)[list(path.corners)], axis=1), strict=True)
    )
    assert lengths["GAMMA"] == 0
    for label, length in (
        ("X", 1.0),
        ("L", 0.75**0.5),
        ("W", 1.25**0.5),
        ("K", 1.125**0.5),
        ("U", 1.125**0.5),
    ):
        assert lengths[label] == pytest.approx(length * edge)
    # U and K are one point of the zone: the way goes on there.
    jump = path.labels.index("U")
    assert path.corners[jump + 1] == path.corners[jump] + 1
    assert path.distances[path.corners[jump + 1]] == path.distances[path.corners[jump]]
    assert path.distances[-1] == pytest.approx(
        edge * (1 + 0.125**0.5 + 1.125**0.5 + 0.75**0.5 + 0.5**0.5 + 0.5)
    )


def test_the_same_path_in_another_cell() -> None:
    """Of one lattice: the reciprocal vectors of the other cell give the same wave vectors."""
    compact = compact_cell(TETRAGONAL)
    assert not np.array_equal(compact.basis, np.eye(3))
    here, there = band_path(TETRAGONAL, 80), band_path(compact.crystal, 80)
    assert here.labels == there.labels
    assert here.corners == there.corners
    np.testing.assert_allclose(here.distances, there.distances, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(cartesian(here, TETRAGONAL), axis=1),
        np.linalg.norm(cartesian(there, compact.crystal), axis=1),
        atol=1e-9,
    )


@pytest.mark.parametrize("n_points", [1, 5])
def test_hardly_any_points(n_points: int) -> None:
    # Both ends of every segment remain.
    path = band_path(DIAMOND, n_points)
    assert len(path.kpoints) == len(path.corners) == 8
    assert path.labels == band_path(DIAMOND, 100).labels
