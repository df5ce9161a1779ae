"""Crystals with the structure of another: what pymatgen's matcher says, asked as seldom as can be."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from farm.crystal import Crystal, crystal_from_structure
from farm.sources import Distinct, Sieve, Skipped, read_source
from farm.sources.distinct import _VOLUME_REACH

BUNDLED = [item for item in read_source(None) if isinstance(item, Crystal)]


def like(crystal: Crystal, name: str, strain: float = 0.0, shift: float = 0.0, seed: int = 7) -> Crystal:
    """Turned, strained along one axis, sites moved by ``shift`` angstrom, and the origin elsewhere."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    stretch = np.diag([1 + strain, 1.0, 1.0])
    structure = Structure(
        Lattice(crystal.lattice @ stretch @ turn),
        list(crystal.species),
        crystal.frac_coords,
        to_unit_cell=True,
    )
    structure.translate_sites(range(len(structure)), random.random(3))
    moved = structure.perturb(shift, seed=seed) if shift else structure
    return crystal_from_structure(moved, material_id=name)


@pytest.mark.parametrize("crystal", BUNDLED, ids=lambda crystal: crystal.material_id)
def test_the_same_structure_is_found_however_it_is_given(crystal: Crystal) -> None:
    distinct = Distinct()
    for one in BUNDLED:
        distinct.add(one)
    assert distinct.same_structure(like(crystal, "turned")) == crystal.material_id
    assert distinct.same_structure(like(crystal, "strained", strain=0.03)) == crystal.material_id
    # The same material for another protocol is not a copy of itself.
    assert distinct.same_structure(crystal) is None


def test_others_of_the_same_composition_are_not_the_same() -> None:
    zincblende, hexagonal = (c for c in BUNDLED if c.formula == "BN")
    distinct = Distinct()
    distinct.add(zincblende)
    assert distinct.same_structure(hexagonal) is None
    graphene_like = like(zincblende, "wide", strain=0.4)
    assert distinct.same_structure(graphene_like) is None


def test_verdicts_are_those_of_the_matcher() -> None:
    matcher = StructureMatcher(primitive_cell=True, scale=False, attempt_supercell=False)
    variants = [
        like(crystal, f"{crystal.material_id}-{seed}", strain, shift, seed)
        for crystal in BUNDLED[:12]
        for seed, (strain, shift) in enumerate(
            [(0.0, 0.0), (0.1, 0.0), (0.25, 0.0), (0.0, 0.2), (0.0, 0.9)]
        )
    ]
    verdicts: list[bool] = []
    for first in BUNDLED[:12]:
        distinct = Distinct()
        distinct.add(first)
        for second in variants:
            if second.material_id.startswith(first.material_id) and second.n_atoms == first.n_atoms:
                found = distinct.same_structure(second) is not None
                assert found == matcher.fit(first.to_structure(), second.to_structure()), second.material_id
                verdicts.append(found)
    assert {True, False} == set(verdicts)


def test_volumes_out_of_reach_are_so_for_the_matcher() -> None:
    # The worst case of the bound: bcc, all lengths and angles changed to the end of the tolerance.
    matcher = StructureMatcher(primitive_cell=True, scale=False, attempt_supercell=False)
    angle = np.degrees(np.arccos(-1 / 3))
    small = Structure(Lattice.from_parameters(3, 3, 3, *[angle + 4.99] * 3), ["Li"], [[0, 0, 0]])
    large = Structure(
        Lattice.from_parameters(3 * 1.199, 3 * 1.199, 3 * 1.199, *[angle] * 3), ["Li"], [[0, 0, 0]]
    )
    ratio = large.volume / small.volume
    assert 2.0 < ratio < _VOLUME_REACH
    assert matcher.fit(small, large)
    beyond = Structure(Lattice.from_parameters(4.1, 4.1, 4.1, *[angle] * 3), ["Li"], [[0, 0, 0]])
    assert beyond.volume / small.volume > _VOLUME_REACH
    assert not matcher.fit(small, beyond)


def test_the_matcher_is_not_asked_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(StructureMatcher, "fit", lambda _, first, second: asked.append((first, second)))
    distinct = Distinct()
    for crystal in BUNDLED:
        assert distinct.same_structure(crystal) is None
        distinct.add(crystal)
    # BN alone comes twice, and hexagonal BN has more atoms in its cell.
    assert asked == []
    big = like(BUNDLED[0], "big")
    wide = crystal_from_structure(
        big.to_structure().scale_lattice(3 * big.volume_angstrom3), material_id="wide"
    )
    assert distinct.same_structure(wide) is None
    assert asked == []
    assert distinct.same_structure(big) is None
    assert len(asked) == 1


def test_a_sieve_skips_and_names_them() -> None:
    first = BUNDLED[0]
    sieve = Sieve(distinct=Distinct())
    assert sieve.refuse(first) is None
    copy = like(first, "copy", strain=0.01)
    assert sieve.refuse(copy) == Skipped("copy", f"the same structure as {first.material_id}")
    # What was skipped is not a structure of its own.
    assert sieve.refuse(like(first, "third", strain=0.02)) == Skipped(
        "third", f"the same structure as {first.material_id}"
    )
    assert Sieve().refuse(copy) is None


def test_a_crystal_takes_a_few_hundred_bytes() -> None:
    cell = Structure(
        Lattice.orthorhombic(3.2, 4.1, 5.3), ["Mg", "Mg", "O", "O"], np.arange(12).reshape(4, 3) / 13
    )
    crystals = [
        Crystal(
            material_id=f"agm{n:09d}",
            lattice_angstrom=tuple(tuple(map(float, row)) for row in cell.lattice.matrix),
            species=tuple(site.specie.symbol for site in cell),
            frac_coords=tuple(tuple(map(float, row)) for row in cell.frac_coords),
        )
        for n in range(20_000)
    ]
    # The worst case: each with a composition of its own.
    keys = iter(range(10**9))
    distinct = Distinct()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("farm.sources.distinct._composition", lambda _: 10**12 + next(keys))
        tracemalloc.start()
        for crystal in crystals:
            distinct.add(crystal)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(distinct) == 20_000
    assert used / 20_000 < 400
