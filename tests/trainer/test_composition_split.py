"""The split leaks no composition and never moves one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.crystal import Crystal
from farm.sources import read_source
from trainer.data.split import DEFAULT_RULE, SplitRule, composition_key, split_crystals

ELEMENTS = ["Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si"]


def crystal_of(species: tuple[str, ...], name: str = "x") -> Crystal:
    return Crystal(
        material_id=name,
        lattice_angstrom=((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, 9.0)),
        species=species,
        frac_coords=tuple((i / len(species), 0.0, 0.0) for i in range(len(species))),
    )


compositions = st.lists(
    st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(tuple), min_size=1, max_size=40
)


def test_key_is_the_reduced_composition():
    keys = {composition_key(crystal_of(s)) for s in [("Mg", "O"), ("O", "Mg"), ("O", "Mg", "Mg", "O")]}
    assert keys == {"Mg1O1"}
    assert composition_key(crystal_of(("O", "Mg", "Mg"))) == "Mg2O1"


@given(compositions)
def test_no_composition_stands_on_two_sides(species):
    crystals = [crystal_of(s) for s in species]
    split = split_crystals(crystals)
    sides = [
        {composition_key(crystals[i]) for i in rows}
        for rows in (split.train, split.validation, split.held_out)
    ]
    assert len(set.union(*sides)) == sum(len(side) for side in sides)
    everything = np.concatenate([split.train, split.validation, split.held_out])
    assert sorted(everything.tolist()) == list(range(len(crystals)))


@given(compositions, compositions)
def test_growth_moves_nothing_in_or_out_of_the_held_out(species, more):
    crystals = [crystal_of(s) for s in species]
    before = split_crystals(crystals).held_out.tolist()
    after = split_crystals([*crystals, *(crystal_of(s) for s in more)]).held_out.tolist()
    assert [i for i in after if i < len(crystals)] == before


def test_bundled_crystals_have_a_fifth_held_out():
    crystals = [crystal for crystal in read_source(None) if isinstance(crystal, Crystal)]
    split = split_crystals(crystals)
    held_out = {composition_key(crystals[i]) for i in split.held_out}
    assert held_out == {"Si1", "B1P1", "Be1O1", "Ca1F2"}
    assert 0.15 < split.held_out.size / len(crystals) < 0.25


def test_share_is_that_of_the_rule():
    keys = [f"X{i}" for i in range(4000)]
    for share in (0.1, 0.2, 0.5):
        rule = SplitRule(held_out_share=share)
        assert np.mean([rule.is_held_out(key) for key in keys]) == pytest.approx(share, abs=0.03)


def test_validation_is_an_eighth_and_never_all():
    many = [crystal_of((a, b)) for a in ELEMENTS for b in ELEMENTS if a < b]
    split = split_crystals(many)
    assert split.validation.size == -(-split.n_learning // 8)
    assert split_crystals([crystal_of(("Mg", "O"))]).train.tolist() == [0]


def test_rule_hash_tells_rules_apart():
    assert SplitRule().hash == DEFAULT_RULE.hash
    assert SplitRule(salt="other").hash != DEFAULT_RULE.hash
