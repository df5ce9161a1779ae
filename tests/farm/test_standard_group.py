"""The symmetry a crystal was read with, against a search in the cell at hand."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from farm.compact_cell import compact_cell
from farm.crystal import Crystal, crystal_from_structure
from farm.kpoints import IntArray, count_inequivalent, reduce_kpoints, shifted_grid, space_group
from farm.sources import read_source
from farm.standard_group import known_space_group, rotations_in

SHIFT = (1 / 64, 2 / 64, 3 / 64)

# Every kind of centring and every crystal system, with an atom in a general position.
_CELLS = [
    ("P1", Lattice.from_parameters(4.1, 4.7, 5.3, 81, 97, 104)),
    ("P2_1/c", Lattice.monoclinic(4.1, 6.2, 5.3, 103)),
    ("C2", Lattice.monoclinic(8.3, 4.2, 5.1, 103)),
    ("Cm", Lattice.monoclinic(8.3, 4.2, 5.1, 103)),
    ("Amm2", Lattice.orthorhombic(4.1, 5.9, 6.8)),
    ("Cmcm", Lattice.orthorhombic(4.1, 9.9, 6.8)),
    ("Fdd2", Lattice.orthorhombic(9.1, 10.3, 8.2)),
    ("Imma", Lattice.orthorhombic(7.1, 8.3, 9.2)),
    ("I-4", Lattice.tetragonal(5.2, 10.4)),
    ("P4_2/mnm", Lattice.tetragonal(7.6, 6.2)),
    ("R3", Lattice.hexagonal(7.2, 9.7)),
    ("R-3m", Lattice.hexagonal(9.2, 14.7)),
    ("P3_121", Lattice.hexagonal(6.2, 7.1)),
    ("P6_3mc", Lattice.hexagonal(7.2, 9.1)),
    ("P-43m", Lattice.cubic(7.4)),
    ("I-43m", Lattice.cubic(9.4)),
    ("F-43m", Lattice.cubic(11.4)),
]


def _general(group: str, lattice: Lattice) -> Crystal:
    roomy = lattice.scale(27 * lattice.volume)
    structure = Structure.from_spacegroup(group, roomy, ["Si"], [[0.087, 0.219, 0.366]])
    return crystal_from_structure(structure, material_id="cell")


def _bundled() -> list[Crystal]:
    return [crystal for crystal in read_source(None) if isinstance(crystal, Crystal)]


CRYSTALS = [
    *(pytest.param(_general(group, lattice), id=group) for group, lattice in _CELLS),
    *(pytest.param(crystal, id=crystal.material_id) for crystal in _bundled()),
]


def _operations(rotations: IntArray) -> set[bytes]:
    return {rotation.tobytes() for rotation in rotations}


@pytest.mark.parametrize("crystal", CRYSTALS)
def test_operations_are_those_that_a_search_finds(crystal: Crystal) -> None:
    assert crystal.hall_number is not None
    known, found = known_space_group(crystal), space_group(crystal)
    assert (known.number, known.symbol) == (found.number, found.symbol)
    assert len(known.rotations) == len(found.rotations)
    shifts = {r.tobytes(): t for r, t in zip(known.rotations, known.translations, strict=True)}
    for rotation, shift in zip(found.rotations, found.translations, strict=True):
        difference = shifts[rotation.tobytes()] - shift
        assert np.abs(difference - np.rint(difference)).max() < 1e-4


@pytest.mark.parametrize("crystal", CRYSTALS)
def test_rotations_follow_into_another_cell(crystal: Crystal) -> None:
    basis = np.array([[1, 2, 0], [0, 1, 0], [-1, 0, 1]])
    positions = np.array(crystal.frac_coords) @ np.linalg.inv(basis) % 1.0
    other = replace(
        crystal,
        lattice_angstrom=tuple(tuple(map(float, row)) for row in basis @ crystal.lattice),
        frac_coords=tuple(tuple(map(float, row)) for row in positions),
    )
    turned = rotations_in(basis, known_space_group(crystal).rotations)
    assert _operations(turned) == _operations(space_group(other).rotations)


@pytest.mark.parametrize("crystal", CRYSTALS)
def test_counted_points_are_those_that_are_left(crystal: Crystal) -> None:
    compact = compact_cell(crystal)
    for rotations in (
        known_space_group(crystal).rotations,
        rotations_in(compact.basis, known_space_group(crystal).rotations),
    ):
        for divisions, shift in (((4, 4, 4), SHIFT), ((5, 4, 3), (0.0, 0.0, 0.0))):
            left, _ = reduce_kpoints(shifted_grid(divisions, shift), rotations)
            assert count_inequivalent(divisions, shift, rotations) == len(left)


def test_changed_copy_does_not_keep_the_symmetry() -> None:
    crystal = _general("F-43m", Lattice.cubic(11.4))
    (a, b, c), *rest = crystal.lattice_angstrom
    strained = replace(crystal, lattice_angstrom=((a + 0.5, b, c), *rest))
    assert strained.hall_number is None
    assert len(known_space_group(strained).rotations) < len(known_space_group(crystal).rotations)
    assert pickle.loads(pickle.dumps(crystal)).hall_number == crystal.hall_number  # noqa: S301 - our own
    assert Crystal.from_dict(crystal.to_dict()).hall_number is None
