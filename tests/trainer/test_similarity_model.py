"""SC[RPA; IPA] of crystals nobody has computed: learnt, bounded, and silent where it knows nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from farm.errors import CheckpointError
from trainer.checkpoints.card import verify
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset, build_dataset
from trainer.data.split import SplitRule
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.inference.similarity import SimilarityModel

NOW = datetime(2026, 1, 2, tzinfo=UTC)
QUICK = FitPlan(epochs=4, lr=1e-2, batch_size=16, threads=1)


@pytest.fixture
def plan(small_config):
    return RefitPlan(
        base=QUICK,
        transfer=QUICK,
        similarity=replace(QUICK, epochs=80),
        members=1,
        model=small_config,
        similarity_model=replace(small_config, n_energies=1),
        rule=SplitRule(validation_share=0.3),
    )


def of_all_degrees(dataset: Dataset) -> Dataset:
    """The same crystals, with RPA spectra the weaker the later the cation stands in a list."""
    rows = []
    for row in dataset.rows:
        step = ("Li", "Na", "K", "Be", "Mg", "Ca", "B", "Al", "Ga").index(row.crystal.species[0])
        weaker = np.float32(0.95 - 0.05 * step)
        rows.append(replace(row, rpa_eps_imag=weaker * row.ipa_eps_imag))
    return build_dataset(rows, dataset.energies_ev)


def test_it_learns_how_far_ipa_is_from_rpa(dataset_of, plan, tmp_path):
    dataset = of_all_degrees(dataset_of(81))
    report = refit_dataset(dataset, Registry(tmp_path), now=NOW, plan=plan)
    card = verify(Registry(tmp_path).path())
    truth = dataset.similarity[:, 0].numpy()
    told = card.similarity
    assert told["mean_error"] < 0.6 * np.abs(truth - np.median(truth)).mean()
    assert told["n"] == report.n_held_out
    assert 0.5 < told["inside"] <= 1.0
    model = SimilarityModel.load(tmp_path)
    found = model.predict(dataset.crystals)
    learnt = np.array([one.value for one in found])
    assert np.corrcoef(learnt, truth)[0, 1] > 0.6
    assert {one.error for one in found} == {told["half_width"]}
    assert learnt.max() <= 1.0


def test_what_it_cannot_see_is_none(dataset_of, plan, tmp_path, rock_salt):
    refit_dataset(dataset_of(60), Registry(tmp_path), now=NOW, plan=plan)
    found = SimilarityModel.load(tmp_path).predict([rock_salt("Zn", "O"), rock_salt("Mg", "O")])
    assert found[0] is None
    assert found[1] is not None
    assert SimilarityModel.load(tmp_path).predict([]) == []


def test_few_materials_give_no_interval_and_then_no_answer(dataset_of, plan, tmp_path):
    few = replace(plan, rule=SplitRule())
    refit_dataset(dataset_of(20), Registry(tmp_path), now=NOW, plan=few)
    assert verify(Registry(tmp_path).path()).similarity["half_width"] is None
    with pytest.raises(CheckpointError, match="too few materials"):
        SimilarityModel.load(tmp_path)


def test_a_checkpoint_without_one_says_so(dataset_of, plan, tmp_path):
    refit_dataset(dataset_of(20), Registry(tmp_path), now=NOW, plan=replace(plan, similarity=None))
    with pytest.raises(CheckpointError, match="SIMILARITY"):
        SimilarityModel.load(tmp_path)
