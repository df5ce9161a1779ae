"""The held-out set that stays the same, and the decision on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from trainer.checkpoints.card import read_card
from trainer.checkpoints.registry import Registry
from trainer.data.split import split_crystals
from trainer.fitting.plan import FitPlan
from trainer.fitting.promotion import paired
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import RefitOutcome, refit_dataset

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_same_scores_are_as_likely_better_as_worse():
    same = paired([0.5, 0.6, 0.7, 0.9], [0.5, 0.6, 0.7, 0.9])
    assert (same.p_worse, same.is_not_worse) == (0.5, True)
    assert same.median_sc == same.before == pytest.approx(0.65)


def test_what_is_worse_everywhere_is_surely_worse():
    old = np.linspace(0.3, 0.9, 30)
    found = paired(old - 0.05, old)
    assert (found.p_worse, found.is_not_worse) == (1.0, False)
    assert paired(old + 0.05, old).p_worse == 0.0


def test_a_median_that_one_material_moves_does_not_decide():
    # Worse in 8 of 9; but the one in the middle makes the median the better one.
    old = np.array([0.10, 0.20, 0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90])
    new = old - 0.02
    new[4] = 0.51
    found = paired(new, old)
    assert found.median_sc > found.before
    assert found.p_worse > 0.5


def test_held_out_set_grows_at_announced_versions_only(dataset_of, small_config, tmp_path):
    quick = FitPlan(epochs=3, lr=1e-2, batch_size=16, threads=1)
    plan = RefitPlan(base=quick, transfer=quick, similarity=None, members=1, model=small_config)
    registry = Registry(tmp_path)
    sets = []
    for n_materials in (30, 36, 81):
        dataset = dataset_of(n_materials)
        report = refit_dataset(dataset, registry, now=NOW, plan=plan)
        registry.promote(report.version)
        card = read_card(registry.path())
        measured = [record["material"] for record in card.held_out]
        assert measured == card.split["materials"]
        sets.append((card.split["held_out_version"], measured))
        assert f"held-out set {sets[-1][0]}: {len(measured)} materials" in report.message
        held_out = {dataset.rows[i].material_id for i in split_crystals(dataset.crystals).held_out}
        assert set(measured) <= held_out
    (first, one), (second, two), (third, three) = sets
    assert (first, second, third) == (1, 1, 2)
    assert one == two
    assert len(three) >= 1.5 * len(two)
    # There was something to keep out: more could have been measured the second time.
    assert split_crystals(dataset_of(36).crystals).held_out.size > len(two)


def test_the_decision_stands_in_the_history(dataset_of, small_config, tmp_path):
    plan = RefitPlan(
        base=FitPlan(epochs=60, lr=1e-2, batch_size=16, threads=1),
        transfer=FitPlan(epochs=30, lr=3e-3, batch_size=16, threads=1),
        similarity=None,
        members=1,
        model=small_config,
    )
    registry = Registry(tmp_path)
    good = refit_dataset(dataset_of(40), registry, now=NOW, plan=plan)
    spoilt = replace(plan, transfer=replace(plan.transfer, lr=0.5, keep="last"))
    bad = refit_dataset(dataset_of(44), registry, now=NOW, plan=spoilt)
    assert (good.outcome, bad.outcome) == (RefitOutcome.PROMOTED, RefitOutcome.NOT_BETTER)
    assert registry.latest() == good.version
    assert bad.comparison.p_worse > 0.9
    promoted, refused = registry.history().entries
    assert (promoted.version, refused.version) == (good.version, bad.version)
    assert refused.numbers["p_worse"] == pytest.approx(bad.comparison.p_worse)
