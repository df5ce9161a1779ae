"""k-point grids, stars and reduction."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Kpoints

from farm.crystal import Crystal, crystal_from_structure
from farm.kpoints import grid_divisions, reduce_kpoints, shifted_grid, space_group, star

SHIFT = (1 / 64, 2 / 64, 3 / 64)


def crystal(group: str, lattice: Lattice, species: list[str], positions: list[list[float]]) -> Crystal:
    return crystal_from_structure(Structure.from_spacegroup(group, lattice, species, positions))


SILICON = crystal("Fd-3m", Lattice.cubic(5.431), ["Si"], [[0, 0, 0]])
NITRIDE = crystal(
    "P6_3/mmc", Lattice.hexagonal(2.504, 6.661), ["B", "N"], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25]]
)
SELENIUM = crystal("P3_121", Lattice.hexagonal(4.366, 4.954), ["Se"], [[0.225, 0, 1 / 3]])


@pytest.mark.parametrize(
    ("cell", "number", "order"), [(SILICON, 227, 48), (NITRIDE, 194, 24), (SELENIUM, 152, 6)]
)
def test_space_groups(cell: Crystal, number: int, order: int) -> None:
    group = space_group(cell)
    assert group.number == number
    assert len(group.point_group) == order


@pytest.mark.parametrize("cell", [SILICON, NITRIDE, SELENIUM])
@pytest.mark.parametrize("kppa", [200, 1500, 4000])
def test_divisions_follow_pymatgen(cell: Crystal, kppa: int) -> None:
    published = Kpoints.automatic_density(cell.to_structure(), kppa, force_gamma=True).kpts[0]
    assert grid_divisions(cell, kppa, even=False) == tuple(published)
    assert all(n % 2 == 0 for n in grid_divisions(cell, kppa, even=True))


def test_the_published_silicon_grid_reduces_to_288() -> None:
    grid = shifted_grid((8, 8, 8), SHIFT)
    rotations = space_group(SILICON).point_group
    representatives, multiplicity = reduce_kpoints(grid, rotations)
    assert len(representatives) == 288
    assert multiplicity.sum() == 512
    # The full stars of the 512 points hold 23040 members (the shift lies on a mirror plane).
    sizes = [len(star(k, rotations)) for k in representatives]
    assert int(np.dot(sizes, multiplicity)) == 23040


def test_without_symmetry_only_time_reversal_pairs() -> None:
    grid = shifted_grid((2, 2, 2), (0.0, 0.0, 0.0))
    identity = np.eye(3, dtype=np.int64)[None]
    representatives, multiplicity = reduce_kpoints(grid, identity)
    assert len(representatives) == 8  # each of these eight is its own inverse
    moved, moved_multiplicity = reduce_kpoints(shifted_grid((2, 2, 2), SHIFT), identity)
    assert len(moved) == 8
    assert (moved_multiplicity == 1).all()
    assert (multiplicity == 1).all()


def test_a_star_is_closed_under_the_group() -> None:
    rotations = space_group(NITRIDE).point_group
    members = star(np.array(SHIFT), rotations)
    again = {tuple(np.rint(m * 1e6).astype(int)) for k in members for m in star(k, rotations)}
    assert again == {tuple(np.rint(m * 1e6).astype(int)) for m in members}


@pytest.mark.parametrize("cell", [SILICON, NITRIDE, SELENIUM])
@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), SHIFT])
def test_representatives_are_the_first_of_each_star_in_list_order(
    cell: Crystal, shift: tuple[float, float, float]
) -> None:
    grid = shifted_grid((4, 4, 2), shift)
    rotations = space_group(cell).point_group
    stars = [frozenset(map(tuple, np.rint(star(k, rotations) * 1e6).astype(int))) for k in grid]
    first = sorted({stars.index(members) for members in stars})
    representatives, multiplicity = reduce_kpoints(grid, rotations)
    assert representatives.tolist() == grid[first].tolist()
    assert multiplicity.tolist() == [stars.count(stars[i]) for i in first]
