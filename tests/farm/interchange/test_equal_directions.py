from __future__ import annotations

import numpy as np
import pytest
from interchange_samples import CELLS, entry

from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.interchange.cells import crystal_of
from farm.interchange.directions import filling, told
from farm.interchange.equal_directions import directions_equal_in_group, directions_made_equal
from farm.sources.bundled import bundled_crystals


def fill(cell: str, *given: str) -> tuple[int, int, int]:
    crystal = crystal_of(entry(cell=cell), "x", "")
    return filling(given, crystal, "data.ipa_epsI")


@pytest.mark.parametrize(
    ("cell", "given", "expected"),
    [
        ("cubic", ("xx",), (0, 0, 0)),
        ("cubic", ("zz",), (2, 2, 2)),
        ("cubic", ("xx", "zz"), (0, 0, 2)),
        ("tetragonal", ("xx", "zz"), (0, 0, 2)),
        ("tetragonal", ("zz", "yy"), (1, 1, 2)),
        # The axis of such a cell lies along x: y is as z, and not as x.
        ("tetragonal along x", ("xx", "zz"), (0, 2, 2)),
        ("hexagonal", ("xx", "zz"), (0, 0, 2)),
        ("orthorhombic", ("xx", "yy", "zz"), (0, 1, 2)),
    ],
)
def test_what_stands_for_what(cell: str, given: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert fill(cell, *given) == expected


@pytest.mark.parametrize(
    ("cell", "given", "left_out"),
    [
        ("tetragonal", ("xx",), "yy, zz"),
        ("tetragonal", ("xx", "yy"), "zz"),
        ("tetragonal along x", ("yy",), "xx, zz"),
        ("orthorhombic", ("xx", "zz"), "yy"),
    ],
)
def test_what_makes_no_sense_is_refused(cell: str, given: tuple[str, ...], left_out: str) -> None:
    with pytest.raises(CrystalError, match=left_out) as caught:
        fill(cell, *given)
    assert "data.ipa_epsI" in caught.value.message
    assert caught.value.fix


def test_a_cell_that_is_only_roughly_symmetric_counts_as_what_its_directions_say() -> None:
    sample = entry(cell="tetragonal")
    sample["structure"]["lattice"]["matrix"][1][1] += 0.03
    crystal = crystal_of(sample, "x", "")
    assert not directions_made_equal(crystal)[0, 1]
    assert not directions_equal_in_group(crystal)[0, 1]
    assert filling(("xx", "zz"), crystal, "") == (0, 0, 2)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_left_out_comes_back(cell: str) -> None:
    crystal = crystal_of(entry(cell=cell), "x", "")
    given = CELLS[cell][2]
    sources = filling(given, crystal, "")
    eps = np.random.default_rng(3).normal(size=(2, 3, 5)).astype(np.float32)[:, list(sources)]
    kept = told(eps, crystal)
    keys = [("xx", "yy", "zz")[d] for d in kept]
    again = filling(keys, crystal, "")
    assert len(kept) == len(set(sources))
    assert np.array_equal(eps[:, list(again)], eps)


def test_directions_that_differ_in_a_bit_are_all_told() -> None:
    crystal = crystal_of(entry(cell="cubic"), "x", "")
    eps = np.ones((2, 3, 5), dtype=np.float32)
    assert told(eps, crystal) == [0]
    eps[1, 2, 4] = np.nextafter(np.float32(1), np.float32(2))
    assert told(eps, crystal) == [0, 2]


@pytest.mark.parametrize("cell", CELLS)
def test_both_ways_agree(cell: str) -> None:
    crystal = crystal_of(entry(cell=cell), "x", "")
    assert np.array_equal(directions_made_equal(crystal), directions_equal_in_group(crystal))


def test_both_ways_agree_on_real_crystals() -> None:
    for crystal in bundled_crystals():
        assert isinstance(crystal, Crystal)
        assert np.array_equal(directions_made_equal(crystal), directions_equal_in_group(crystal))


def test_sites_count_not_the_lattice_alone() -> None:
    # The lattice is cubic, the pair of atoms in it lies along z.
    sample = entry(cell="tetragonal")
    sample["structure"]["lattice"]["matrix"] = [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    sample["structure"]["sites"][1]["abc"] = [0.0, 0.0, 0.5]
    equal = directions_made_equal(crystal_of(sample, "x", ""))
    assert equal.tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_an_axis_between_the_axes_is_found_in_the_whole_group() -> None:
    # A third of a turn about (1, 1, 2): x and y are as far from it, and nothing takes one to the other.
    axis = np.array([1.0, 1.0, 2.0]) / np.sqrt(6.0)
    across = np.array([1.0, -1.0, 0.0]) / np.sqrt(2.0)
    across = np.cos(0.3) * across + np.sin(0.3) * np.cross(axis, across)
    turned = np.array([across, np.cross(axis, across), axis])
    sample = entry(cell="hexagonal")
    lattice = np.array(sample["structure"]["lattice"]["matrix"])
    sample["structure"]["lattice"]["matrix"] = (lattice @ turned).tolist()
    crystal = crystal_of(sample, "x", "")
    assert not directions_made_equal(crystal)[0, 1]
    assert directions_equal_in_group(crystal)[0, 1]
    assert filling(("xx", "zz"), crystal, "") == (0, 0, 2)
