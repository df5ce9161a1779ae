"""The loop: it learns, it repeats itself, it keeps the best, and it stops when told."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from farm.errors import InputError
from trainer.data.split import split_crystals
from trainer.fitting.fit import fit
from trainer.fitting.plan import FitPlan
from trainer.networks.architectures import new_model
from trainer.networks.network import predict_spectra

PLAN = FitPlan(epochs=60, lr=1e-2, batch_size=16, threads=1)
NONE = np.array([], dtype=np.int64)


def fitted(config, dataset, plan, **changes):
    model = new_model(config, plan.seed)
    rows = {"train": np.arange(len(dataset)), "validation": NONE} | changes
    return model, fit(model, dataset.graphs, dataset.ipa, plan=plan, **rows)


def test_three_materials_are_learnt_by_heart(small_config, dataset_of):
    dataset = dataset_of(3)
    model, report = fitted(small_config, dataset, replace(PLAN, epochs=250, lr=5e-3))
    assert report.training_losses[-1] < 0.15 * report.training_losses[0]
    error = (predict_spectra(model, dataset.graphs) - dataset.ipa).abs().mean()
    # In use the network normalises by running means, in training by the batch: nearly the same.
    assert error < 0.25 * dataset.ipa.abs().mean()
    assert report.validation_loss is None


def test_the_seed_decides_everything(small_config, dataset_of):
    dataset = dataset_of(6)
    plan = replace(PLAN, epochs=5, batch_size=2)
    (first, _), (again, _) = (fitted(small_config, dataset, plan) for _ in range(2))
    other, _ = fitted(small_config, dataset, replace(plan, seed=1))
    a, b, c = (predict_spectra(m, dataset.graphs) for m in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_order_of_batches_follows_the_seed_too(small_config, dataset_of):
    dataset, start = dataset_of(6), new_model(small_config, 0)
    losses = []
    for seed in (0, 1):
        plan = replace(PLAN, epochs=3, batch_size=2, seed=seed)
        model = copy.deepcopy(start)
        rows = np.arange(6)
        report = fit(model, dataset.graphs, dataset.ipa, train=rows, validation=NONE, plan=plan)
        losses.append(report.training_losses)
    assert losses[0] != losses[1]


def test_best_validation_epoch_is_kept(small_config, dataset_of):
    dataset = dataset_of(30)
    split = split_crystals(dataset.crystals)
    seen: list[float] = []
    model, report = fitted(
        small_config,
        dataset,
        PLAN,
        train=split.train,
        validation=split.validation,
        on_progress=lambda _epoch, _loss, validation: seen.append(validation),
    )
    assert report.validation_loss == min(seen) == seen[report.best_epoch]
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(dataset.graphs[i]) for i in split.validation])
    loss = (outputs - dataset.ipa[split.validation]).abs().mean()
    assert float(loss) == pytest.approx(report.validation_loss, rel=1e-5)


def test_a_fit_that_only_hurts_leaves_the_weights_alone(small_config, dataset_of):
    dataset = dataset_of(20)
    split = split_crystals(dataset.crystals)
    model, _ = fitted(small_config, dataset, PLAN, train=split.train, validation=split.validation)
    before = copy.deepcopy(model.state_dict())
    report = fit(
        model,
        dataset.graphs,
        dataset.ipa,
        train=split.train,
        validation=split.validation,
        plan=replace(PLAN, lr=5.0, epochs=3),
    )
    assert report.best_epoch == -1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_patience_and_time_end_the_loop(small_config, dataset_of):
    dataset = dataset_of(20)
    split = split_crystals(dataset.crystals)
    parts = {"train": split.train, "validation": split.validation}
    _, report = fitted(small_config, dataset, replace(PLAN, lr=5.0, patience=4), **parts)
    assert report.stopped_by == "patience"
    assert report.epochs == report.best_epoch + 5
    ticks = iter(range(1000))
    _, report = fitted(
        small_config, dataset, replace(PLAN, max_seconds=6.5), clock=lambda: float(next(ticks)), **parts
    )
    assert (report.stopped_by, report.epochs) == ("max_seconds", 7)


def test_no_batch_is_a_single_material(small_config, dataset_of):
    # 5 in batches of 2 would leave one, whose variance a batch normalisation cannot take.
    dataset = dataset_of(5)
    _, report = fitted(small_config, dataset, replace(PLAN, epochs=2, batch_size=2))
    assert np.isfinite(report.training_losses).all()


def test_threads_are_given_back(small_config, dataset_of):
    before = torch.get_num_threads()
    seen = []
    fitted(
        small_config,
        dataset_of(3),
        replace(PLAN, epochs=1, threads=before + 1),
        on_progress=lambda *_: seen.append(torch.get_num_threads()),
    )
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("device", ["tpu", "cuda"])
def test_a_device_that_is_not_there_is_an_input_error(device, small_config, dataset_of):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one here")
    with pytest.raises(InputError, match=device.replace("cuda", "CUDA")):
        fitted(small_config, dataset_of(3), replace(PLAN, device=device))


def test_one_material_is_too_few(small_config, dataset_of):
    with pytest.raises(InputError, match="too few"):
        fitted(small_config, dataset_of(1), PLAN)


def test_few_materials_are_passed_over_until_there_are_steps_enough(small_config, dataset_of):
    dataset = dataset_of(6)
    plan = replace(PLAN, epochs=3, batch_size=2, least_steps=20)
    assert fitted(small_config, dataset, plan)[1].epochs == 7
    assert fitted(small_config, dataset, replace(plan, least_steps=9))[1].epochs == 3


def test_one_cycle_rises_and_falls_to_nothing():
    plan = replace(PLAN, schedule="one-cycle", lr=1e-3)
    steps = [plan.lr_at(step, 200) for step in range(200)]
    top = int(np.argmax(steps))
    assert steps[top] == pytest.approx(1e-3, rel=0.01)
    assert top == 20
    assert steps[0] < 0.1 * steps[top]
    assert steps[-1] < 0.01 * steps[top]
    assert sorted(steps[top:], reverse=True) == steps[top:]
    assert PLAN.lr_at(5, 200) == PLAN.lr_at(150, 200) == PLAN.lr


def test_the_last_weights_are_kept_where_the_plan_says_so(small_config, dataset_of):
    dataset = dataset_of(20)
    split = split_crystals(dataset.crystals)
    rows = {"train": split.train, "validation": split.validation}
    # Steps so large that the last epoch is not the best.
    plan = replace(PLAN, epochs=15, lr=0.3)
    best, last = (
        fitted(small_config, dataset, replace(plan, keep=keep), **rows)[1] for keep in ("best", "last")
    )
    assert best.best_epoch < 14 == last.best_epoch
    assert best.validation_loss < last.validation_loss
    assert best.training_losses == last.training_losses
