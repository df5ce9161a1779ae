"""The most compact cell is the same crystal: volume, neighbours, symmetry, k-points, orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.compact_cell import compact_cell, skewness
from farm.crystal import Crystal
from farm.kpoints import grid_divisions, reduce_kpoints, shifted_grid, space_group

A, C = 3.2, 8.9
# Body-centred tetragonal, as standardised: three long edges.
TETRAGONAL = Crystal(
    "bct",
    ((-A / 2, A / 2, C / 2), (A / 2, -A / 2, C / 2), (A / 2, A / 2, -C / 2)),
    ("Si", "O", "O"),
    ((0, 0, 0), (0.37, 0.37, 0), (0.63, 0.63, 0)),
)


def _distances(crystal: Crystal) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    structure = crystal.to_structure()
    return np.sort([n.nn_distance for site in structure for n in structure.get_neighbors(site, 4.0)])


def test_long_tetragonal_cell_gets_short_edges() -> None:
    compact = compact_cell(TETRAGONAL)
    assert skewness(TETRAGONAL) > 2
    assert skewness(compact.crystal) < 1.3
    assert round(np.linalg.det(compact.basis)) == 1
    np.testing.assert_allclose(compact.basis @ TETRAGONAL.lattice, compact.crystal.lattice, atol=1e-12)


def test_crystal_stays_the_same() -> None:
    found = compact_cell(TETRAGONAL).crystal
    assert found.volume_angstrom3 == pytest.approx(TETRAGONAL.volume_angstrom3)
    assert found.species == TETRAGONAL.species
    np.testing.assert_allclose(_distances(found), _distances(TETRAGONAL), atol=1e-8)
    before, after = space_group(TETRAGONAL), space_group(found)
    assert after.number == before.number
    assert len(after.rotations) == len(before.rotations)


def test_kpoints_are_the_same_wave_vectors() -> None:
    compact = compact_cell(TETRAGONAL)
    grid = shifted_grid(grid_divisions(TETRAGONAL, 300, even=True), (1 / 64, 2 / 64, 3 / 64))
    moved = compact.kpoints(grid)
    old, new = np.linalg.inv(TETRAGONAL.lattice).T, np.linalg.inv(compact.crystal.lattice).T
    np.testing.assert_allclose(moved @ new, grid @ old, atol=1e-12)
    np.testing.assert_allclose(compact.kpoints_back(moved), grid, atol=1e-12)
    # Equivalent points are equivalent in both.
    counts = reduce_kpoints(grid, space_group(TETRAGONAL).point_group)[1]
    moved_counts = reduce_kpoints(moved, space_group(compact.crystal).point_group)[1]
    np.testing.assert_array_equal(moved_counts, counts)


def test_compact_cells_are_left_alone() -> None:
    diamond = Crystal(
        "C", ((0, 1.78, 1.78), (1.78, 0, 1.78), (1.78, 1.78, 0)), ("C", "C"), ((0, 0, 0), (0.25,) * 3)
    )
    compact = compact_cell(diamond)
    assert compact.crystal is diamond
    np.testing.assert_array_equal(compact.basis, np.eye(3))


@given(rows=st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=3, max_size=3))
def test_any_cell_of_a_lattice_ends_as_short(rows: list[list[int]]) -> None:
    basis = np.array(rows)
    if abs(round(np.linalg.det(basis))) != 1:
        return
    lattice = basis @ np.diag([2.0, 3.0, 4.0])
    other = Crystal("x", tuple(map(tuple, lattice.tolist())), ("He",), ((0, 0, 0),))
    assert skewness(compact_cell(other).crystal) < 1.5
