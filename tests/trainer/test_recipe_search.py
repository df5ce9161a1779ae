"""A search: seeded, gone on with from a file, never looking at what is held out."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest

from farm.errors import InputError, MissingProgramError
from trainer.data.dataset import build_dataset
from trainer.data.split import split_crystals
from trainer.networks.oscillators import OscillatorConfig
from trainer.trials.search import search
from trainer.trials.search_study import BATCH_SIZES, changed
from trainer.trials.trial_plan import trial_plan

pytest.importorskip("optuna")


@pytest.fixture
def plan(small_config):
    plan = trial_plan("direct", architecture="optimate", changes={"epochs": 3, "threads": 1})
    return replace(plan, model=small_config)


def told(document):
    return [(t["parameters"], t["value"]) for t in document["trials"]]


def test_the_first_trial_is_the_recipe_that_there_is_and_the_best_is_no_worse(dataset_of, plan):
    tried = []
    document = search(dataset_of(30), plan, 4, n_folds=2, on_trial=tried.append)
    first, values = document["trials"][0], [t["value"] for t in document["trials"]]
    # No weight decay is the least that is searched.
    assert first["parameters"] == {"lr": plan.fit.lr, "weight_decay": 1e-6, "batch_size": 32}
    assert document["value"] == max(value for value in values if value is not None) >= first["value"]
    assert document["n_trials"] == len(tried) == 4
    assert [vars(t) for t in tried] == document["trials"]
    for trial in document["trials"][1:]:
        assert 1e-5 <= trial["parameters"]["lr"] <= 1e-2
        assert trial["parameters"]["batch_size"] in BATCH_SIZES
        assert float(f"{trial['parameters']['lr']:.3g}") == trial["parameters"]["lr"]


def test_the_seed_decides(dataset_of, plan):
    one, again = (search(dataset_of(24), plan, 3, n_folds=2) for _ in range(2))
    other = search(dataset_of(24), replace(plan, fit=replace(plan.fit, seed=1)), 3, n_folds=2)
    assert told(one) == told(again)
    assert told(one)[1][0] != told(other)[1][0]


def test_what_is_held_out_changes_nothing(dataset_of, plan):
    dataset = dataset_of(40)
    held_out = set(split_crystals(dataset.crystals).held_out.tolist())
    rows = [
        replace(row, rpa_eps_imag=row.rpa_eps_imag[:, ::-1].copy()) if i in held_out else row
        for i, row in enumerate(dataset.rows)
    ]
    other = build_dataset(rows, dataset.energies_ev)
    assert other.hash != dataset.hash
    assert told(search(dataset, plan, 2, n_folds=2)) == told(search(other, plan, 2, n_folds=2))


@pytest.mark.parametrize("name", ["study.journal", "study.db"])
def test_a_study_goes_on_from_its_file_and_counts_what_it_holds(name, dataset_of, plan, tmp_path):
    path = tmp_path / name
    dataset = dataset_of(24)
    first = search(dataset, plan, 2, n_folds=2, study_file=path)
    ran = []
    whole = search(dataset, plan, 4, n_folds=2, study_file=path, on_trial=ran.append)
    assert told(whole)[:2] == told(first)
    assert len(ran) == 2
    assert len({tuple(t["parameters"].values()) for t in whole["trials"]}) == 4
    assert told(search(dataset, plan, 3, n_folds=2, study_file=path)) == told(whole)
    for changes in ({"n_folds": 3}, {"plan": replace(plan, fit=replace(plan.fit, epochs=4))}):
        with pytest.raises(InputError, match="other materials or of another kind"):
            search(dataset, **{"plan": plan, "n_trials": 5, "n_folds": 2, "study_file": path} | changes)


def test_a_trial_that_was_killed_counts_for_nothing(dataset_of, plan, tmp_path):
    path, dataset = tmp_path / "study.journal", dataset_of(24)

    def kill(_n_done, step):
        if step.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(dataset, plan, 2, n_folds=2, study_file=path, on_progress=kill)
    document = search(dataset, plan, 2, n_folds=2, study_file=path)
    assert document["n_trials"] == 2
    assert document["trials"][0]["parameters"]["lr"] == plan.fit.lr
    assert all(trial["value"] is not None for trial in document["trials"])


def test_hopeless_trials_end_early(dataset_of, plan, monkeypatch):
    """From the fifth on only such as can learn nothing are suggested."""
    seen = []

    def suggested(trial, _plan):
        seen.append(trial.number)
        return {"lr": trial.suggest_float("lr", 1e-9, 1e-2) if trial.number < 4 else 1e-9, "batch_size": 8}

    monkeypatch.setattr("trainer.trials.search.suggested", suggested)
    epochs = dict.fromkeys(range(6), 0)

    def count(n_done, _step):
        epochs[n_done] += 1

    document = search(dataset_of(24), plan, 6, n_folds=2, on_progress=count)
    assert [t["value"] is None for t in document["trials"]] == [False] * 4 + [True] * 2
    assert document["n_ended_early"] == 2
    assert max(epochs[4], epochs[5]) < epochs[0] == 2 * plan.fit.epochs


def test_each_kind_is_judged_by_its_measure(dataset_of, small_config):
    plan = trial_plan("similarity", architecture="optimate", changes={"epochs": 2, "threads": 1})
    plan = replace(plan, model=replace(plan.model, embedding=(8,), attention=((8, 2),), output=(16,)))
    document = search(dataset_of(30), plan, 3, n_folds=2)
    assert document["judged_by"] == "mean_error"
    assert document["value"] == min(t["value"] for t in document["trials"])
    plan = trial_plan("transfer", architecture="optimate", changes={"epochs": 2, "threads": 1})
    plan = replace(plan, model=small_config, base=replace(plan.base, epochs=2))
    stages = []
    search(dataset_of(30), plan, 2, n_folds=2, on_progress=lambda _, step: stages.append(step.stage))
    # One base a fold, whatever is tried.
    assert (stages.count("base"), stages.count("transfer")) == (4, 8)


def test_dropout_is_searched_where_there_is_some(dataset_of):
    plan = trial_plan("direct", changes={"epochs": 1, "threads": 1})
    plan = replace(plan, model=OscillatorConfig(width=8, heads=2, layers=1, hidden=(8,), n_oscillators=8))
    document = search(dataset_of(24), plan, 3, n_folds=2)
    dropouts = [t["parameters"]["dropout"] for t in document["trials"]]
    assert dropouts[0] == 0.0
    assert all(0.0 < value <= 0.4 for value in dropouts[1:])
    made = changed(plan, {"lr": 0.5, "weight_decay": 0.25, "batch_size": 4, "dropout": 0.125})
    assert made.model == replace(plan.model, dropout=0.125)
    assert (made.fit.lr, made.fit.weight_decay, made.fit.batch_size) == (0.5, 0.25, 4)


def test_a_file_that_is_no_study_is_an_input_error(dataset_of, plan, tmp_path):
    for name in ("study.journal", "study.db"):
        path = tmp_path / name
        path.write_text("no study\n")
        with pytest.raises(InputError, match=f"{name}: not a study"):
            search(dataset_of(24), plan, 1, n_folds=2, study_file=path)


def test_without_optuna_the_error_says_what_to_install(dataset_of, plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingProgramError, match="optuna") as error:
        search(dataset_of(24), plan, 1, n_folds=2)
    assert "pip install optuna" in error.value.fix
    monkeypatch.undo()
    assert importlib.import_module("optuna")
    assert np.isfinite(search(dataset_of(24), plan, 1, n_folds=2)["value"])
