"""Refits: wait, fit, reuse, promote only what is not worse, and never fit the same twice."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from farm.errors import CheckpointError
from farm.spectrum import energy_grid_ev
from trainer.checkpoints.card import verify
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import build_dataset
from trainer.data.split import SplitRule, split_crystals
from trainer.fitting.metrics import score_ipa_as_rpa, score_model, summarise
from trainer.fitting.new_version import request_hash
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import FROM_SCRATCH, RefitPlan, default_plan
from trainer.fitting.refit import RefitOutcome, refit_dataset
from trainer.fitting.rungs import Data, fit_rung, may_reuse_base
from trainer.networks.architectures import new_model
from trainer.networks.oscillators import OscillatorConfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def plan(small_config):
    return RefitPlan(
        base=FitPlan(epochs=60, lr=1e-2, batch_size=16, threads=1),
        transfer=FitPlan(epochs=30, lr=3e-3, batch_size=16, threads=1),
        similarity=FitPlan(epochs=10, lr=3e-3, batch_size=16, threads=1),
        members=2,
        model=small_config,
    )


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "checkpoints")


def test_too_few_rows_wait_and_say_for_how_many(dataset_of, registry, plan):
    empty = build_dataset([], energy_grid_ev(41))
    report = refit_dataset(empty, registry, now=NOW, plan=plan)
    assert (report.outcome, report.n_missing) == (RefitOutcome.WAITING, 6)
    assert "6 more" in report.message
    # Plenty to learn from, but nothing to measure on.
    full = dataset_of(40)
    learning = [row for i, row in enumerate(full.rows) if i not in split_crystals(full.crystals).held_out]
    report = refit_dataset(build_dataset(learning, full.energies_ev), registry, now=NOW, plan=plan)
    assert (report.outcome, report.n_missing) == (RefitOutcome.WAITING, 2)
    assert registry.versions() == []


def test_one_composition_to_learn_from_is_fitted_without_early_stopping(
    rock_salt, training_row, registry, plan
):
    rows = [
        training_row(replace(rock_salt(cation, "O", 4.0 + 0.1 * n), material_id=f"{cation}O-{n}"))
        for cation, copies in (("Mg", 2), ("Be", 4))
        for n in range(copies)
    ]
    rule = next(
        SplitRule(salt=str(n))
        for n in range(100)
        if SplitRule(salt=str(n)).is_held_out("Mg1O1") and not SplitRule(salt=str(n)).is_held_out("Be1O1")
    )
    dataset = build_dataset(rows, energy_grid_ev(41))
    report = refit_dataset(dataset, registry, now=NOW, plan=replace(plan, rule=rule))
    assert report.outcome is RefitOutcome.PROMOTED
    assert verify(registry.path()).transfer["validation_loss"] is None


def test_first_refit_is_promoted_with_an_honest_card(dataset_of, registry, plan):
    dataset = dataset_of(40)
    split = split_crystals(dataset.crystals)
    stages = []
    report = refit_dataset(
        dataset, registry, now=NOW, plan=plan, on_progress=lambda stage, *_: stages.append(stage)
    )
    assert (report.outcome, report.version) == (RefitOutcome.PROMOTED, registry.latest())
    assert stages == ["ipa"] * 60 + ["rpa"] * 30 + ["rpa 2"] * 30 + ["similarity"] * 10
    card = verify(registry.path())
    assert card.created == NOW.isoformat()
    assert (card.parent, card.n_train) == (None, split.n_learning)
    assert card.dataset["hash"] == dataset.hash
    assert card.split["hash"] == plan.rule.hash
    assert [entry["material"] for entry in card.held_out] == [
        dataset.rows[i].material_id for i in split.held_out
    ]
    baseline = summarise(score_ipa_as_rpa(dataset, split.held_out))
    assert card.metrics["ipa_as_rpa"] == baseline.to_dict()
    model, _ = registry.load()
    again = summarise(score_model(model, dataset, split.held_out, dataset.rpa.numpy()))
    assert again.median_sc == pytest.approx(card.median_sc, abs=1e-6)
    # It has learnt something: an untrained network does not come near.
    untrained = score_model(new_model(plan.model, 0), dataset, split.held_out, dataset.rpa.numpy())
    assert card.median_sc > summarise(untrained).median_sc + 0.3


def test_transfer_lowers_the_loss_of_the_base(dataset_of, plan):
    dataset = dataset_of(40)
    split = split_crystals(dataset.crystals)
    base = new_model(plan.model, 0)
    fit_rung(base, "ipa", dataset, split, plan.base)
    rpa = copy.deepcopy(base)
    fit_rung(rpa, "rpa", dataset, split, plan.transfer)
    before, after = (
        summarise(score_model(model, dataset, split.held_out, dataset.rpa.numpy())) for model in (base, rpa)
    )
    assert after.median_mae < 0.9 * before.median_mae
    assert after.median_sc > before.median_sc


def test_asked_twice_it_fits_once(dataset_of, registry, plan):
    dataset = dataset_of(30)
    first = refit_dataset(dataset, registry, now=NOW, plan=plan)
    second = refit_dataset(dataset, registry, now=NOW, plan=plan, on_progress=pytest.fail)
    assert (second.outcome, second.version) == (RefitOutcome.UNCHANGED, first.version)
    assert registry.versions() == [first.version]


def test_a_refit_killed_before_its_promotion_is_finished(dataset_of, registry, plan):
    dataset = dataset_of(30)
    version = refit_dataset(dataset, registry, now=NOW, plan=plan).version
    (registry.directory / "latest").unlink()
    report = refit_dataset(dataset, registry, now=NOW, plan=plan, on_progress=pytest.fail)
    assert (report.outcome, report.version) == (RefitOutcome.PROMOTED, version)
    assert registry.latest() == version


def test_where_it_runs_is_no_new_request(dataset_of, plan):
    dataset = dataset_of(10)
    elsewhere = replace(plan, base=replace(plan.base, device="cuda", threads=7))
    longer = replace(plan, base=replace(plan.base, epochs=61))
    assert request_hash(dataset, plan) == request_hash(dataset, elsewhere) != request_hash(dataset, longer)


def test_base_is_used_again_until_the_set_has_grown(dataset_of, registry, plan):
    for n_materials, reused in ((30, False), (36, True), (60, False)):
        stages: list[str] = []
        report = refit_dataset(
            dataset_of(n_materials),
            registry,
            now=NOW,
            plan=plan,
            on_progress=lambda stage, *_, seen=stages: seen.append(stage),
        )
        assert report.base_reused is reused
        assert ("ipa" in stages) is not reused
        registry.promote(report.version)
    first, second, _ = registry.versions()
    one, two = (registry.load(v, "ipa")[0].state_dict() for v in (first, second))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    # Growth counts from the materials the base was really fitted to, not from the last refit.
    card = registry.load(second)[1]
    assert card.base["n_materials"] == registry.load(first)[1].n_train < card.n_train


def test_base_of_another_split_plan_or_protocol_is_not_used(dataset_of, registry, plan):
    dataset = dataset_of(30)
    split = split_crystals(dataset.crystals)
    refit_dataset(dataset, registry, now=NOW, plan=plan)
    card = verify(registry.path())
    data = Data(dataset, split, dataset, split)
    assert may_reuse_base(card, data, plan)
    other_protocol = build_dataset(
        [replace(row, protocol_hash="q") for row in dataset.rows], dataset.energies_ev
    )
    assert not may_reuse_base(card, Data(other_protocol, split, other_protocol, split), plan)
    for change in (
        {"rule": SplitRule(salt="other")},
        {"base": replace(plan.base, lr=1e-4)},
        {"model": replace(plan.model, attention=((8, 4), (8, 4)))},
    ):
        assert not may_reuse_base(card, data, replace(plan, **change))


def test_what_is_worse_is_kept_aside(dataset_of, registry, plan):
    good = refit_dataset(dataset_of(40), registry, now=NOW, plan=plan)
    lazy = replace(
        plan, base=replace(plan.base, epochs=1, lr=1e-5), transfer=replace(plan.transfer, epochs=1, lr=1e-5)
    )
    larger = dataset_of(44)
    worse = refit_dataset(larger, registry, now=NOW, plan=lazy)
    assert worse.outcome is RefitOutcome.NOT_BETTER
    assert registry.latest() == good.version
    assert worse.version in registry.versions()
    # Both were measured on the held-out materials of the present set.
    held_out = {record["material"] for record in verify(registry.path()).held_out}
    rows = np.array([i for i, row in enumerate(larger.rows) if row.material_id in held_out])
    model, _ = registry.load(good.version)
    now = summarise(score_model(model, larger, rows, larger.rpa.numpy())).median_sc
    assert worse.comparison.before == pytest.approx(now)
    assert now > worse.metrics["rpa"].median_sc


def test_a_damaged_checkpoint_in_use_is_replaced(dataset_of, registry, plan):
    refit_dataset(dataset_of(30), registry, now=NOW, plan=plan)
    weights = registry.path() / "rpa.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    report = refit_dataset(dataset_of(32), registry, now=NOW, plan=plan)
    assert report.outcome is RefitOutcome.PROMOTED
    assert (report.base_reused, report.comparison) == (False, None)
    registry.load()


def test_default_plan_runs_where_it_can():
    plan = default_plan("optimate")
    assert plan.base.device == plan.transfer.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert plan.base.recipe == FROM_SCRATCH.recipe


def test_base_learns_from_ipa_alone_and_the_transfer_from_both(dataset_of, registry, plan):
    whole = dataset_of(60)
    rows = [row if n % 2 else replace(row, rpa_eps_imag=None) for n, row in enumerate(whole.rows)]
    report = refit_dataset(build_dataset(rows, whole.energies_ev), registry, now=NOW, plan=plan)
    assert report.outcome is RefitOutcome.PROMOTED
    card = verify(registry.path())
    assert (card.dataset["n_ipa"], card.dataset["n_rows"]) == (60, 30)
    held_out = split_crystals(whole.crystals).held_out
    assert card.base["n_materials"] == 60 - held_out.size
    assert card.transfer["n_materials"] == card.n_train < card.base["n_materials"]
    # Nothing that is held out at RPA was seen by the base either.
    measured = {record["material"] for record in card.held_out}
    assert measured == {whole.rows[i].material_id for i in held_out if i % 2}


def test_ipa_alone_waits_for_rpa(dataset_of, registry, plan):
    rows = [replace(row, rpa_eps_imag=None) for row in dataset_of(30).rows]
    report = refit_dataset(build_dataset(rows, energy_grid_ev(41)), registry, now=NOW, plan=plan)
    assert (report.outcome, report.n_missing) == (RefitOutcome.WAITING, 6)
    assert "6 more RPA spectra" in report.message


def test_a_base_that_is_given_starts_every_transfer(dataset_of, registry, plan, tmp_path):
    refit_dataset(dataset_of(60), registry, now=NOW, plan=plan)
    given = registry.latest()
    ours = Registry(tmp_path / "ours")
    report = refit_dataset(
        dataset_of(24),
        ours,
        now=NOW,
        plan=replace(plan, base_from=str(registry.directory / given)),
        on_progress=lambda stage, *_: pytest.fail("a base is fitted") if stage == "ipa" else None,
    )
    assert (report.outcome, report.base_reused) == (RefitOutcome.PROMOTED, True)
    card = verify(ours.path())
    assert card.base["reused_from"] == given
    one, two = (r.load(rung="ipa")[0].state_dict() for r in (registry, ours))
    assert all(torch.equal(one[name], two[name]) for name in one)
    # On another grid it predicts something else.
    half = [
        replace(row, ipa_eps_imag=row.ipa_eps_imag[:, ::2], rpa_eps_imag=row.rpa_eps_imag[:, ::2])
        for row in dataset_of(24).rows
    ]
    other = build_dataset(half, energy_grid_ev(21))
    with pytest.raises(CheckpointError, match="41 energies"):
        refit_dataset(other, ours, now=NOW, plan=replace(plan, base_from=str(registry.directory / given)))


def test_oscillators_are_fitted_with_directions_and_say_how_sure_they_are(dataset_of, registry):
    quick = FitPlan(epochs=8, lr=3e-3, loss="similarity", keep="last", every=2, threads=1)
    config = OscillatorConfig(width=16, layers=1, heads=2, hidden=(32,), n_oscillators=40, n_energies=41)
    plan = RefitPlan(
        base=quick,
        transfer=quick,
        similarity=None,
        members=3,
        model=config,
        rule=SplitRule(validation_share=0.3),
    )
    refit_dataset(dataset_of(60), registry, now=NOW, plan=plan)
    model, card = registry.load()
    assert model.has_directions
    assert len(model.members) == card.uncertainty["members"] == 3
    assert card.uncertainty["calibration"]["n"] >= 8
    assert 0.0 < card.uncertainty["held_out"]["point_error"] < 0.5
    weights = [member.strengths.weight for member in model.members]
    assert not torch.equal(weights[0], weights[1])
