"""The wedge of the zone that bands are solved in: in the first zone, one image of each star, convex."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from farm.crystal import Crystal, crystal_from_structure
from farm.kpoints import (
    FloatArray,
    SpaceGroup,
    reduce_kpoints,
    shifted_grid,
    space_group,
    star,
    star_images,
)
from workers.reduced_basis.wedge import fold_into_wedge, sample_zone

SHIFT = (1 / 64, 2 / 64, 3 / 64)


def one_atom(lattice: list[list[float]]) -> Crystal:
    return Crystal("X", tuple((a, b, c) for a, b, c in lattice), ("Ar",), ((0.0, 0.0, 0.0),))


def spaced(group: str, lattice: Lattice, species: list[str], positions: list[list[float]]) -> Crystal:
    return crystal_from_structure(Structure.from_spacegroup(group, lattice, species, positions))


CELLS = {
    "simple cubic": one_atom([[3, 0, 0], [0, 3, 0], [0, 0, 3]]),
    "fcc": one_atom([[0, 2, 2], [2, 0, 2], [2, 2, 0]]),
    "bcc": one_atom([[-2, 2, 2], [2, -2, 2], [2, 2, -2]]),
    "hexagonal": spaced("P6_3/mmc", Lattice.hexagonal(2.5, 6.7), ["B"], [[1 / 3, 2 / 3, 0.25]]),
    "trigonal, no inversion": spaced("P3_121", Lattice.hexagonal(4.4, 5.0), ["Se"], [[0.225, 0, 1 / 3]]),
    "body-centred tetragonal, long": one_atom([[-1.5, 1.5, 6], [1.5, -1.5, 6], [1.5, 1.5, -6]]),
    "monoclinic": one_atom([[3, 0, 0], [0, 4, 0], [-1.2, 0, 5]]),
    "triclinic": one_atom([[3, 0, 0], [0.7, 4, 0], [-1.1, 0.9, 5]]),
    "cubic, skewed cell": one_atom([[3, 0, 0], [3, 3, 0], [3, 3, 3]]),
}
GRIDS = {
    "published": ((4, 4, 4), SHIFT),
    "uneven": ((5, 3, 2), SHIFT),
    "half steps": ((4, 4, 4), (1 / 8,) * 3),
}


def prepared(name: str) -> tuple[FloatArray, SpaceGroup]:
    cell = CELLS[name]
    return np.ascontiguousarray(2 * np.pi * np.linalg.inv(cell.lattice).T), space_group(cell)


def names(kpoints: FloatArray, group: SpaceGroup) -> list[int]:
    """One number for each star."""
    return [int(n) for n in star_images(kpoints, group.point_group)[:, 0]]


def excess(kpoints: FloatArray, reciprocal: FloatArray) -> float:
    """How much nearer to another reciprocal vector than to the origin the worst point is."""
    axis = np.arange(-7, 8)
    around = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) @ reciprocal
    around = around[np.argsort(np.linalg.norm(around, axis=1))[:300]]
    points = kpoints @ reciprocal
    nearest = np.linalg.norm(points[:, None] - around, axis=-1).min(axis=1)
    return float((np.linalg.norm(points, axis=1) - nearest).max())


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("grid", list(GRIDS))
def test_every_image_lies_in_the_first_zone_and_in_its_star(name: str, grid: str) -> None:
    reciprocal, group = prepared(name)
    full = shifted_grid(*GRIDS[grid])
    assert excess(full, reciprocal) > 0.1  # most grid points do not
    folded = fold_into_wedge(full, reciprocal, group.point_group)
    assert excess(folded, reciprocal) < 1e-9
    assert names(folded, group) == names(full, group)


@pytest.mark.parametrize("name", list(CELLS))
def test_members_of_a_star_have_one_image(name: str) -> None:
    reciprocal, group = prepared(name)
    for k in np.random.default_rng(3).uniform(-2, 2, size=(5, 3)):
        members = star(k, group.point_group)
        folded = fold_into_wedge(members, reciprocal, group.point_group)
        assert len(members) == len(group.point_group) * (1 if "inversion" not in name else 2)
        # star() rounds to 1e-6.
        assert np.abs(folded - folded[0]).max() < 1e-5


@pytest.mark.parametrize("name", list(CELLS))
def test_wedge_is_convex_and_its_points_stay(name: str) -> None:
    reciprocal, group = prepared(name)
    random = np.random.default_rng(5)
    a, b = (fold_into_wedge(random.uniform(-1, 1, (40, 3)), reciprocal, group.point_group) for _ in "ab")
    for share in (0.0, 0.3, 0.5, 1.0):
        between = share * a + (1 - share) * b
        np.testing.assert_allclose(
            fold_into_wedge(between, reciprocal, group.point_group), between, atol=1e-12
        )


@pytest.mark.parametrize("name", list(CELLS))
@pytest.mark.parametrize("grid", list(GRIDS))
def test_weights_count_stars(name: str, grid: str) -> None:
    reciprocal, group = prepared(name)
    full = shifted_grid(*GRIDS[grid])
    zone = sample_zone(full, reciprocal, group.point_group)
    kpoints, counts = reduce_kpoints(full, group.point_group)
    sizes = np.array([len(star(k, group.point_group)) for k in kpoints])
    # A point of a grid that is symmetric itself stands for itself; of others, for its whole star.
    expected = counts if np.array_equal(counts, sizes) else counts * sizes
    assert zone.weights.sum() == pytest.approx(1.0)
    of_star = dict(zip(names(zone.kpoints, group), zone.weights, strict=True))
    assert len(of_star) == len(zone.kpoints) == len(kpoints)
    found = [of_star[n] for n in names(kpoints, group)]
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shift"), [("fcc", 0.0), ("hexagonal", 0.0), ("simple cubic", 0.0), ("simple cubic", 1 / 8)]
)
def test_a_symmetric_grid_integrates_what_it_must(name: str, shift: float) -> None:
    """Over the full grid, cos(k . R) sums to zero for every R that is no vector of the large cell.

    Averaged over the group, the inequivalent points with their weights must do so, too. Weights that count
    each star twice give 0.06 and more.
    """
    reciprocal, group = prepared(name)
    zone = sample_zone(shifted_grid((4, 4, 4), (shift, shift, shift)), reciprocal, group.point_group)
    for vector in ([1, 0, 0], [1, 1, -1], [2, 0, 0], [1, 2, 0]):
        images = np.einsum("rij,j->ri", group.point_group, np.array(vector))
        values = np.cos(2 * np.pi * zone.kpoints @ images.T).mean(axis=1)
        assert abs(float(values @ zone.weights)) < 1e-12


def test_no_symmetry_leaves_half_of_the_points() -> None:
    reciprocal, _ = prepared("triclinic")
    identity = np.eye(3, dtype=np.int64)[None]
    zone = sample_zone(shifted_grid((2, 2, 2), (0.1, 0.2, 0.3)), reciprocal, identity)
    assert zone.weights == pytest.approx(np.full(8, 1 / 8))
    zone = sample_zone(shifted_grid((4, 4, 4), (1 / 8, 1 / 8, 1 / 8)), reciprocal, identity)
    assert zone.weights == pytest.approx(np.full(32, 1 / 32))
