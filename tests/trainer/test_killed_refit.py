"""A fit and a refit that are killed: they go on where they were, and end as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch

from farm.errors import CheckpointError
from trainer.checkpoints.card import verify
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset
from trainer.data.split import split_crystals
from trainer.fitting import fit_state
from trainer.fitting.fit import fit
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import RefitOutcome, refit_dataset
from trainer.fitting.workbench import workbench
from trainer.networks.architectures import new_model
from trainer.networks.oscillators import OscillatorConfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Killed(Exception):  # noqa: N818  # nothing went wrong
    pass


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(fit_state, "SAVE_EVERY_S", 0.0)


def killed_after(n_epochs: int):
    def on_progress(epoch: int, *_: float) -> None:
        if epoch == n_epochs:
            raise Killed

    return on_progress


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("kind", ["optimate", "oscillators with dropout"])
def test_a_killed_fit_ends_with_the_same_weights(kind, small_config, dataset_of, tmp_path):
    dataset = dataset_of(20)
    split = split_crystals(dataset.crystals)
    config = small_config
    if kind != "optimate":
        config = OscillatorConfig(width=8, layers=1, heads=2, hidden=(16,), dropout=0.3, n_energies=41)
    plan = FitPlan(epochs=12, lr=3e-3, batch_size=4, threads=1, schedule="one-cycle", loss="similarity")

    def fitted(**how):
        model = new_model(config, 1)
        targets = dataset.rpa_diagonal if model.has_directions else dataset.rpa
        report = fit(
            model,
            dataset.graphs,
            targets,
            train=split.train,
            validation=split.validation,
            plan=how.pop("plan", plan),
            **how,
        )
        return model.state_dict(), report

    whole, report = fitted()
    state = tmp_path / "fit.state"
    with pytest.raises(Killed):
        fitted(on_progress=killed_after(7), resume_from=state)
    epochs: list[int] = []
    resumed, again = fitted(on_progress=lambda epoch, *_: epochs.append(epoch), resume_from=state)
    assert epochs == [7, 8, 9, 10, 11]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert again.training_losses == report.training_losses
    # What is held belongs to this very fit; another one begins at its beginning.
    epochs.clear()
    other = replace(plan, seed=5)
    fitted(plan=other, on_progress=lambda epoch, *_: epochs.append(epoch), resume_from=state)
    assert epochs[0] == 0


def test_a_damaged_note_begins_anew(small_config, dataset_of, tmp_path, caplog):
    dataset, state = dataset_of(6), tmp_path / "fit.state"
    state.write_bytes(b"PK\x03\x04 not weights")
    plan = FitPlan(epochs=2, lr=1e-3, threads=1)
    rows = np.arange(6)
    model = new_model(small_config, 0)
    report = fit(
        model, dataset.graphs, dataset.ipa, train=rows, validation=rows, plan=plan, resume_from=state
    )
    assert report.epochs == 2
    assert "begins anew" in caplog.text


def make_plan(config) -> RefitPlan:
    quick = FitPlan(epochs=40, lr=3e-3, batch_size=8, threads=1)
    return RefitPlan(
        base=quick, transfer=quick, similarity=replace(quick, epochs=5), members=2, model=config
    )


def refit_slowly(dataset: Dataset, directory: Path, plan: RefitPlan, told: Path) -> None:
    fit_state.SAVE_EVERY_S = 0.0

    def on_progress(stage: str, epoch: int, *_: float) -> None:
        told.write_text(f"{stage} {epoch}")
        if stage == "rpa 2" and epoch == 20:
            time.sleep(600)

    refit_dataset(dataset, Registry(directory), now=NOW, plan=plan, n_rpa=30, on_progress=on_progress)


def test_a_refit_killed_in_its_last_member_goes_on_with_the_materials_it_had(
    dataset_of, small_config, tmp_path
):
    directory, told, plan = tmp_path / "checkpoints", tmp_path / "told", make_plan(small_config)
    process = multiprocessing.get_context("spawn").Process(
        target=refit_slowly, args=(dataset_of(30), directory, plan, told)
    )
    process.start()
    deadline = time.monotonic() + 120
    while not (told.is_file() and told.read_text() == "rpa 2 20"):
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # One at a time, whoever asks.
    with pytest.raises(CheckpointError, match="another process refits"):
        refit_dataset(dataset_of(30), Registry(directory), now=NOW, plan=plan)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    stages: list[tuple[str, int]] = []
    report = refit_dataset(
        dataset_of(34),
        Registry(directory),
        now=NOW,
        plan=plan,
        n_rpa=34,
        on_progress=lambda stage, epoch, *_: stages.append((stage, epoch)),
    )
    assert (report.outcome, report.n_rpa) == (RefitOutcome.PROMOTED, 30)
    assert stages[0][0] == "rpa 2"
    assert 0 < stages[0][1] <= 20
    card = verify(Registry(directory).path())
    assert card.dataset["n_rows"] == 30
    # As if it had not been killed, to the last bit.
    whole = tmp_path / "whole"
    refit_dataset(dataset_of(30), Registry(whole), now=NOW, plan=plan)
    models = [Registry(where).load()[0].state_dict() for where in (directory, whole)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    # What had come meanwhile waits for the next, which begins afresh.
    after = refit_dataset(dataset_of(34), Registry(directory), now=NOW, plan=plan, n_rpa=34)
    assert after.n_rpa == 34
    assert [path.name for path in (directory / ".refit").iterdir()] == ["lock"]


def test_a_request_that_no_longer_holds_is_dropped(dataset_of, small_config, tmp_path):
    registry, plan = Registry(tmp_path), make_plan(small_config)
    with pytest.raises(Killed):
        refit_dataset(dataset_of(30), registry, now=NOW, plan=plan, on_progress=_killed_in_transfer)
    with workbench(tmp_path) as bench:
        assert bench.request() is not None
        assert (bench.directory / "ipa.safetensors").is_file()
    # With another recipe nothing of it is of use.
    other = replace(plan, transfer=replace(plan.transfer, epochs=3))
    stages: list[str] = []
    report = refit_dataset(
        dataset_of(30), registry, now=NOW, plan=other, on_progress=lambda s, *_: stages.append(s)
    )
    assert report.outcome is RefitOutcome.PROMOTED
    assert stages[0] == "ipa"


def _killed_in_transfer(stage: str, *_: float) -> None:
    if stage == "rpa":
        raise Killed
