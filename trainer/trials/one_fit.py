"""The fits of a trial: what runs, what is told of it after each epoch, and what it is measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from trainer.checkpoints.registry import Rung
from trainer.data.dataset import Dataset
from trainer.data.split import Split
from trainer.fitting.fit import FitReport, n_batches
from trainer.fitting.metrics import Score, score_ipa_as_rpa, score_model, summarise
from trainer.fitting.plan import FitPlan
from trainer.fitting.rungs import Data, RefitProgress, fit_rung
from trainer.networks.architectures import new_model
from trainer.networks.network import SpectrumNetwork, in_batches
from trainer.trials.trial_plan import TrialPlan

Measures = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """An epoch that is done, of ``epochs`` at most, counted from 0.

    stage:         ``base`` under a transfer, else the kind; behind a fold's name where there are folds
    validation_sc: median over the validation materials; None: there are none, or it is no spectrum
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    validation_sc: float | None


TrialProgress = Callable[[Step], None]


def fit_base(
    data: Data,
    plan: TrialPlan,
    *,
    on_progress: TrialProgress | None = None,
    resume_from: Path | None = None,
    name: str = "",
) -> SpectrumNetwork:
    """The IPA model that a transfer starts from, fitted to all that the data let it see."""
    if plan.base is None:
        raise InputError(f"{plan.kind} starts from no base")
    model = new_model(plan.base_model, plan.base.seed)
    progress = _watched(
        model, data.everything, data.base_split, "ipa", plan.base, on_progress, name, "base"
    )
    fit_rung(model, "ipa", data.everything, data.base_split, plan.base, progress, resume_from=resume_from)
    return model


def fit_and_measure(
    data: Data,
    plan: TrialPlan,
    *,
    start: SpectrumNetwork | None = None,
    on_progress: TrialProgress | None = None,
    resume_from: Path | None = None,
    name: str = "",
) -> tuple[FitReport, Measures]:
    """The fit of the plan, from ``start`` (which stays as it is) or from nothing, and its measures."""
    model = new_model(plan.model, plan.fit.seed)
    if start is not None:
        model.load_state_dict(start.state_dict())
    dataset = data.everything if plan.kind == "base" else data.both
    split = judged_split(data, plan)
    progress = _watched(model, dataset, split, plan.rung, plan.fit, on_progress, name, plan.kind)
    report = fit_rung(model, plan.rung, dataset, split, plan.fit, progress, resume_from=resume_from)
    if plan.rung == "similarity":
        return report, _similarity_measures(model, dataset, split)
    truth = (dataset.ipa if plan.rung == "ipa" else dataset.rpa).numpy()
    scores: dict[str, tuple[Score, ...]] = {plan.rung: score_model(model, dataset, split.held_out, truth)}
    if plan.rung == "rpa":
        scores["ipa_as_rpa"] = score_ipa_as_rpa(dataset, split.held_out)
    return report, {measure: summarise(found).to_dict() for measure, found in scores.items()}


def judged_split(data: Data, plan: TrialPlan) -> Split:
    """The parts of what the plan's last fit learns from and is measured on."""
    return data.base_split if plan.kind == "base" else data.split


def _similarity_measures(model: SpectrumNetwork, dataset: Dataset, split: Split) -> Measures:
    """Errors of SC[RPA; IPA], and those of a constant: the median of what was learnt from."""
    truth = dataset.similarity.numpy()[:, 0].astype(np.float64)
    graphs = [dataset.graphs[i] for i in split.held_out]
    found = in_batches(model, model, graphs, 1).numpy()[:, 0].astype(np.float64)
    constant = float(np.median(truth[np.concatenate([split.train, split.validation])]))
    return {
        "similarity": _errors(found - truth[split.held_out]),
        "constant": _errors(constant - truth[split.held_out]),
    }


def _errors(apart: NDArray[np.float64]) -> dict[str, float]:
    size = np.abs(apart)
    return {"n": int(size.size), "mean_error": float(size.mean()), "median_error": float(np.median(size))}


def _watched(
    model: SpectrumNetwork,
    dataset: Dataset,
    split: Split,
    rung: Rung,
    plan: FitPlan,
    on_progress: TrialProgress | None,
    name: str,
    stage: str,
) -> RefitProgress | None:
    """What the loop calls after an epoch: adds what is quoted, the median SC on the validation part."""
    if on_progress is None:
        return None
    stage = f"{name}, {stage}" if name else stage
    epochs = plan.n_epochs(n_batches(split.train.size, plan.batch_size))
    known = rung != "similarity" and split.validation.size > 0
    truth = (dataset.ipa if rung == "ipa" else dataset.rpa).numpy() if known else np.empty(0)

    def progress(_: str, epoch: int, loss: float, validation_loss: float) -> None:
        scores = score_model(model, dataset, split.validation, truth) if known else ()
        on_progress(
            Step(
                stage=stage,
                epoch=epoch,
                epochs=epochs,
                loss=loss,
                validation_loss=validation_loss,
                validation_sc=summarise(scores).median_sc if known else None,
            )
        )

    return progress
