"""Folds: every composition in one of them, what is held out in none, and of even size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.crystal import Crystal
from farm.errors import InputError
from trainer.data.folds import assign_folds, fold_split, mean_and_spread
from trainer.data.split import DEFAULT_RULE, composition_key

ELEMENTS = ["Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si"]


def crystal_of(species):
    return Crystal(
        material_id="-".join(species),
        lattice_angstrom=((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, 9.0)),
        species=species,
        frac_coords=tuple((i / len(species), 0.0, 0.0) for i in range(len(species))),
    )


PAIRS = [crystal_of((a, b)) for a in ELEMENTS for b in ELEMENTS if a != b]
species = st.lists(
    st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=4).map(tuple), min_size=25, max_size=60
)


@given(species, st.integers(2, 4))
def test_each_learning_row_is_measured_once_by_a_fit_without_its_composition(drawn, n_folds):
    crystals = [crystal_of(s) for s in drawn]
    keys = [composition_key(crystal) for crystal in crystals]
    learning = [i for i, key in enumerate(keys) if not DEFAULT_RULE.is_held_out(key)]
    if len({keys[i] for i in learning}) < n_folds:
        return
    folds = assign_folds(crystals, n_folds)
    measured = []
    for number in range(n_folds):
        split = fold_split(crystals, folds, number)
        seen = {keys[i] for i in np.concatenate([split.train, split.validation])}
        assert not seen & {keys[i] for i in split.held_out}
        assert not {keys[i] for i in split.train} & {keys[i] for i in split.validation}
        every = np.concatenate([split.train, split.validation, split.held_out])
        assert sorted(every.tolist()) == learning
        measured += split.held_out.tolist()
    assert sorted(measured) == learning


def test_folds_are_even_and_follow_the_seed():
    folds = assign_folds(PAIRS, 5)
    sizes = [fold_split(PAIRS, folds, number).held_out.size for number in range(5)]
    # A pair stands there twice: AB and BA are one composition.
    assert max(sizes) - min(sizes) <= 2
    assert folds == assign_folds(PAIRS[::-1], 5)
    assert folds != assign_folds(PAIRS, 5, seed=1)


def test_a_composition_in_no_fold_is_learnt_from_in_all():
    known = [crystal for crystal in PAIRS if "Si" not in crystal.species]
    folds = assign_folds(known, 4)
    rows = {i for i, crystal in enumerate(PAIRS) if "Si" in crystal.species}
    rows = {i for i in rows if not DEFAULT_RULE.is_held_out(composition_key(PAIRS[i]))}
    for number in range(4):
        split = fold_split(PAIRS, folds, number)
        assert rows <= set(np.concatenate([split.train, split.validation]).tolist())
        assert split.validation.size > 0


def test_too_few_compositions_and_one_fold_are_input_errors():
    with pytest.raises(InputError, match="cannot be parted into 5 folds"):
        assign_folds(PAIRS[:3], 5)
    with pytest.raises(InputError, match="1 folds"):
        assign_folds(PAIRS, 1)


def test_spread_is_the_sample_standard_deviation():
    mean, spread = mean_and_spread([{"x": 1.0, "n": 2}, {"x": 3.0, "n": 2}])
    assert mean == {"x": 2.0, "n": 2.0}
    assert spread == {"x": pytest.approx(2**0.5), "n": 0.0}
