"""Weights of k-points: shifted samples, whole grids, and grids that pw.x reduced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farm.crystal import Crystal
from farm.errors import InputError
from farm.kpoints import SpaceGroup, reduce_kpoints, shifted_grid, space_group, star_images
from workers.rpa.save import Save
from workers.rpa.weights import count_merged, kpoint_weights, yambo_tolerance

DIAMOND = Crystal(
    "C", ((0, 1.8, 1.8), (1.8, 0, 1.8), (1.8, 1.8, 0)), ("C", "C"), ((0, 0, 0), (0.25, 0.25, 0.25))
)
SHIFT = (1 / 64, 2 / 64, 3 / 64)


@pytest.fixture(scope="module")
def group() -> SpaceGroup:
    return space_group(DIAMOND)


def save_of(kpoints: np.ndarray, weights: np.ndarray, *, final: bool = False) -> Save:
    return Save(
        directory=Path(),
        lattice=DIAMOND.lattice,
        species=DIAMOND.species,
        positions=np.array(DIAMOND.frac_coords),
        pseudo_files={},
        kpoints=kpoints,
        weights=weights / weights.sum(),
        weights_final=final,
        n_plane_waves=np.ones(len(kpoints), dtype=np.int64),
        eigenvalues=np.zeros((1, len(kpoints), 2)),
        n_valence=(1,),
        cutoff=1.0,
        neutral_electrons=8.0,
    )


def test_the_published_list_counts_stars_as_yambo_does(group: SpaceGroup) -> None:
    grid = shifted_grid((8, 8, 8), SHIFT)
    weights = kpoint_weights(save_of(grid, np.ones(512)), group)
    assert np.count_nonzero(weights) == 288
    # 23040 points in YAMBO's zone: the (1,2,3)/64 shift puts some points on mirror planes.
    assert weights.sum() == pytest.approx(1.0)
    assert np.unique(np.rint(weights * 23040)).tolist() == [0, 24, 96]
    reduced, multiplicity = reduce_kpoints(grid, group.point_group)
    of_reduced = kpoint_weights(save_of(reduced, multiplicity.astype(float)), group)
    assert of_reduced == pytest.approx(weights[weights > 0])


def test_yambos_counts_on_coarse_grids(group: SpaceGroup) -> None:
    """Its r_setup reports 74 and 2190 points for Si on 2x2x2 and 4x4x4 where there are 288 and 2688."""
    for n, exact, reported in ((2, 288, 74), (4, 2688, 2190)):
        grid = shifted_grid((n, n, n), SHIFT)
        tolerance = yambo_tolerance(grid)
        assert count_merged(grid, group.point_group, 1e-6).sum() == exact
        # Which of two close members is met first depends on the order of operations.
        assert count_merged(grid, group.point_group, tolerance).sum() == pytest.approx(reported, rel=0.03)
        weights = kpoint_weights(save_of(grid, np.ones(n**3)), group, "yambo")
        assert weights.sum() == pytest.approx(1.0)
        assert (weights > 0).sum() == len(reduce_kpoints(grid, group.point_group)[0])


def test_a_path_of_a_band_structure_is_refused(group: SpaceGroup) -> None:
    path = np.linspace([0.1, 0.0, 0.02], [0.4, 0.1, 0.3], 7)
    with pytest.raises(InputError, match="7 k-points are no regular grid") as caught:
        kpoint_weights(save_of(path, np.ones(7)), group)
    assert "not on a path" in caught.value.fix
    # A grid without the members of one star is none.
    grid = shifted_grid((4, 4, 4), SHIFT)
    stars = star_images(grid, group.point_group)[:, 0]
    twice = int(np.flatnonzero(np.sum(stars[:, None] == stars, axis=0) == 2)[0])
    kpoint_weights(save_of(np.delete(grid, twice, axis=0), np.ones(63)), group)  # its star is still there
    with pytest.raises(InputError, match="no regular grid"):
        kpoint_weights(save_of(grid[stars != stars[0]], np.ones(np.sum(stars != stars[0]))), group)


def test_a_whole_grid_is_not_weighted_twice(group: SpaceGroup) -> None:
    grid = shifted_grid((4, 4, 4), (0.0, 0.0, 0.0))
    weights = kpoint_weights(save_of(grid, np.ones(64)), group)
    used = weights[weights > 0]
    assert np.rint(used * 64).sum() == 64
    assert used[0] == pytest.approx(1 / 64)  # Gamma
    reduced, multiplicity = reduce_kpoints(grid, group.point_group)
    # By pw.x, by our own workers, and by somebody who lists them without weights.
    for given, final in ((multiplicity, True), (multiplicity, False), (np.ones(len(reduced)), False)):
        save = save_of(reduced, given.astype(float), final=final)
        assert kpoint_weights(save, group) == pytest.approx(used)
        # YAMBO counts the star of each listed point, whatever weight the list gives it.
        assert kpoint_weights(save, group, "yambo") == pytest.approx(used)


def test_points_of_no_weight_are_left_out(group: SpaceGroup) -> None:
    grid = shifted_grid((2, 1, 1), SHIFT)
    assert kpoint_weights(save_of(grid, np.array([0.0, 3.0])), group).tolist() == [0.0, 1.0]
