"""`farm train`: a fit, measured on what was held out or fold by fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from farm.errors import InputError
from trainer.data.dataset import build_dataset
from trainer.data.split import DEFAULT_RULE, SplitRule, composition_key, split_crystals
from trainer.fitting.plan import PUBLISHED_SIMILARITY, PUBLISHED_TRANSFER
from trainer.fitting.recipes import FROM_SCRATCH
from trainer.networks.architectures import new_model
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig
from trainer.trials.one_fit import judged_split
from trainer.trials.trial import cross_validate, fold_data, trial, trial_data
from trainer.trials.trial_plan import KINDS, starting_from, trial_plan

FAST = {"epochs": 4, "lr": 1e-2, "threads": 1}


@pytest.fixture
def plan_of(small_config):
    """A plan for a small network, its base as short as the fit."""

    def make(kind, **changes):
        plan = trial_plan(kind, architecture="optimate", changes=FAST | changes)
        model = replace(plan.model, embedding=(8,), attention=((8, 2),), output=(16,))
        base = None if plan.base is None else replace(plan.base, epochs=4, threads=1)
        return replace(plan, model=model if kind == "similarity" else small_config, base=base)

    return make


def without_rpa(dataset, rows):
    """The same, with IPA alone in these rows."""
    kept = [replace(row, rpa_eps_imag=None) if i in rows else row for i, row in enumerate(dataset.rows)]
    return build_dataset(kept, dataset.energies_ev)


@pytest.mark.parametrize(
    ("kind", "measures"),
    [
        ("base", {"ipa"}),
        ("direct", {"rpa", "ipa_as_rpa"}),
        ("transfer", {"rpa", "ipa_as_rpa"}),
        ("similarity", {"similarity", "constant"}),
    ],
)
def test_each_kind_is_measured_on_what_it_learns_and_repeats_itself(kind, measures, dataset_of, plan_of):
    dataset = dataset_of(30)
    document = trial(dataset, plan_of(kind))
    assert set(document["metrics"]) == measures
    n_held_out = split_crystals(dataset.crystals).held_out.size
    assert {found["n"] for found in document["metrics"].values()} == {n_held_out}
    assert document["plan"]["epochs"] == document["epochs"] == 4
    assert (document["base"] is None) == (kind != "transfer")
    assert document == trial(dataset, plan_of(kind)) | {"seconds": document["seconds"]}


def test_base_learns_from_ipa_alone_too_and_the_transfer_only_from_both(dataset_of, plan_of):
    dataset = dataset_of(40)
    learning = split_crystals(dataset.crystals).train[:10]
    mixed = without_rpa(dataset, set(learning.tolist()))
    n = split_crystals(dataset.crystals).n_learning
    assert trial(mixed, plan_of("base"))["n_learning"] == n
    assert trial(mixed, plan_of("transfer"))["n_learning"] == n - 10


def test_a_transfer_from_a_model_leaves_it_alone_and_a_frozen_part_as_it_was(
    dataset_of, plan_of, small_config
):
    dataset, start = dataset_of(30), new_model(small_config, 5)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    plan = starting_from(plan_of("transfer"), start.config)
    one = trial(dataset, plan, start=start)
    held = trial(dataset, replace(plan, fit=replace(plan.fit, frozen=("head",))), start=start)
    assert all(torch.equal(before[name], value) for name, value in start.state_dict().items())
    assert one["metrics"] != held["metrics"]
    assert held["plan"]["frozen"] == ["head"]


def test_a_killed_trial_goes_on_and_ends_the_same(dataset_of, plan_of, tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.fitting.fit_state.SAVE_EVERY_S", 0.0)
    dataset, plan, state = dataset_of(30), plan_of("transfer"), tmp_path / "fit.state"
    whole = trial(dataset, plan)

    def run(stage, epoch):
        """Until it is killed there; the epochs that were done."""
        seen = []

        def watch(step):
            seen.append((step.stage, step.epoch))
            if (step.stage, step.epoch) == (stage, epoch):
                raise KeyboardInterrupt

        try:
            return trial(dataset, plan, on_progress=watch, resume_from=state), seen
        except KeyboardInterrupt:
            return None, seen

    assert run("base", 2)[1] == [("base", 0), ("base", 1), ("base", 2)]
    assert run("transfer", 2)[1][0] == ("base", 2)
    document, seen = run("", 0)
    assert seen[-2:] == [("transfer", 2), ("transfer", 3)]
    assert ("base", 0) not in seen
    assert document | {"seconds": 0} == whole | {"seconds": 0}
    assert list(tmp_path.iterdir()) == []


def test_progress_tells_losses_and_the_similarity_of_the_validation_part(dataset_of, plan_of):
    steps = []
    trial(dataset_of(30), plan_of("transfer"), on_progress=steps.append)
    assert [step.stage for step in steps] == ["base"] * 4 + ["transfer"] * 4
    assert all(np.isfinite([s.loss, s.validation_loss]).all() and s.validation_sc <= 1.0 for s in steps)
    # Watching draws no random numbers and leaves no mode behind.
    assert (
        trial(dataset_of(30), plan_of("transfer"))["metrics"]
        == trial(dataset_of(30), plan_of("transfer"), on_progress=steps.append)["metrics"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_folds_measure_each_learning_material_once(kind, dataset_of, plan_of):
    dataset = dataset_of(40)
    document = cross_validate(dataset, plan_of(kind, epochs=1), 3)
    assert (
        sum(record["n_held_out"] for record in document["folds"])
        == split_crystals(dataset.crystals).n_learning
    )
    for name, mean in document["mean"].items():
        for measure, value in mean.items():
            values = [record["metrics"][name][measure] for record in document["folds"]]
            assert value == pytest.approx(np.mean(values))
            assert document["standard_deviation"][name][measure] == pytest.approx(np.std(values, ddof=1))


def test_no_fold_is_seen_by_its_base_or_its_fit(dataset_of, plan_of):
    dataset = without_rpa(dataset_of(60), {3, 5, 8, 13, 21, 34})
    plan = plan_of("transfer")
    for data in fold_data(dataset, plan, 4):
        measured = {composition_key(data.both.crystals[i]) for i in data.split.held_out}
        both, every = data.both.crystals, dataset.crystals
        seen = {
            composition_key(both[i]) for part in (data.split.train, data.split.validation) for i in part
        }
        base = data.base_split
        seen |= {composition_key(every[i]) for part in (base.train, base.validation) for i in part}
        assert measured
        assert not measured & seen
        assert not any(DEFAULT_RULE.is_held_out(key) for key in measured | seen)
        assert judged_split(data, plan) is data.split


def test_too_little_is_an_input_error_that_counts(dataset_of, plan_of):
    with pytest.raises(InputError, match="too few") as error:
        trial(dataset_of(2), plan_of("direct"))
    assert "more" in error.value.fix
    with pytest.raises(InputError, match="none of the 30 materials has an RPA spectrum"):
        trial(without_rpa(dataset_of(30), set(range(30))), plan_of("transfer"))
    assert trial(without_rpa(dataset_of(30), set(range(30))), plan_of("base"))["metrics"]["ipa"]["n"] > 0
    with pytest.raises(InputError, match="folds"):
        cross_validate(dataset_of(12), plan_of("direct"), 9)


def test_split_is_that_of_the_rule(dataset_of, plan_of):
    dataset, rule = dataset_of(30), SplitRule(salt="other")
    document = trial(dataset, plan_of("direct", epochs=1), rule=rule)
    assert document["split"]["hash"] == rule.hash
    assert (
        document["split"]["n_held_out"] == trial_data(dataset, plan_of("direct"), rule).split.held_out.size
    )


def test_published_recipes_are_of_the_published_network():
    plan = trial_plan("transfer", architecture="optimate", published=True)
    assert (plan.fit, plan.base, plan.model) == (PUBLISHED_TRANSFER, FROM_SCRATCH, OptiMateConfig())
    assert plan.fit.loss == "l1"
    plan = trial_plan("similarity", architecture="optimate", published=True, changes={"seed": 3})
    assert plan.fit == replace(PUBLISHED_SIMILARITY, seed=3)
    assert plan.model == OptiMateConfig(n_energies=1)
    for kind, architecture in (("transfer", "oscillators"), ("direct", "optimate")):
        with pytest.raises(InputError, match=f"published of {kind} with {architecture}"):
            trial_plan(kind, architecture=architecture, published=True)


def test_changes_are_of_the_fit_and_the_base_keeps_its_recipe():
    plan = trial_plan("transfer", changes={"lr": 1e-2, "seed": 7, "dropout": 0.25, "loss": "l1"})
    default = trial_plan("transfer")
    assert plan.base == replace(default.base, seed=7)
    assert plan.fit == replace(default.fit, lr=1e-2, seed=7, loss="l1")
    assert (plan.model.dropout, plan.base_model.dropout) == (0.25, 0.0)
    with pytest.raises(InputError, match="optimate has no dropout"):
        trial_plan("direct", architecture="optimate", changes={"dropout": 0.1})
    config = OscillatorConfig(width=16, heads=2)
    assert starting_from(plan, config).model == replace(config, dropout=0.25)
