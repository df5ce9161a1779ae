from __future__ import annotations

import numpy as np
import pytest
from interchange_samples import CELLS, entry

from farm.errors import CrystalError
from farm.interchange.cells import crystal_of
from farm.interchange.directions import filling, symmetry_of, told


def fill(cell: str, *given: str) -> tuple[int, int, int]:
    crystal = crystal_of(entry(cell=cell), "x", "")
    return filling(given, crystal, symmetry_of(crystal), "data.ipa_epsI")


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
    assert not symmetry_of(crystal).equal[0, 1]
    assert filling(("xx", "zz"), crystal, symmetry_of(crystal), "") == (0, 0, 2)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_left_out_comes_back(cell: str) -> None:
    crystal = crystal_of(entry(cell=cell), "x", "")
    symmetry = symmetry_of(crystal)
    given = CELLS[cell][2]
    sources = filling(given, crystal, symmetry, "")
    eps = np.random.default_rng(3).normal(size=(2, 3, 5)).astype(np.float32)[:, list(sources)]
    kept = told(eps, symmetry)
    keys = [("xx", "yy", "zz")[d] for d in kept]
    again = filling(keys, crystal, symmetry, "")
    assert len(kept) == len(set(sources))
    assert np.array_equal(eps[:, list(again)], eps)


def test_directions_that_differ_in_a_bit_are_all_told() -> None:
    symmetry = symmetry_of(crystal_of(entry(cell="cubic"), "x", ""))
    eps = np.ones((2, 3, 5), dtype=np.float32)
    assert told(eps, symmetry) == [0]
    eps[1, 2, 4] = np.nextafter(np.float32(1), np.float32(2))
    assert told(eps, symmetry) == [0, 2]
