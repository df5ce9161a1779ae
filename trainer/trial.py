"""One fit to see how well it does, or one a fold: `farm train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from trainer.architectures import new_model
from trainer.dataset import Dataset
from trainer.fit import FitReport
from trainer.folds import assign_folds, fold_split, mean_and_spread
from trainer.metrics import Score, score_ipa_as_rpa, score_model, summarise
from trainer.network import SpectrumNetwork, in_batches
from trainer.plan import FitPlan
from trainer.refit import n_missing
from trainer.registry import Rung
from trainer.rungs import Data, RefitProgress, fit_rung
from trainer.split import DEFAULT_RULE, Split, SplitRule, split_crystals
from trainer.trial_plan import TrialPlan


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


def trial(
    dataset: Dataset,
    plan: TrialPlan,
    *,
    rule: SplitRule = DEFAULT_RULE,
    start: SpectrumNetwork | None = None,
    on_progress: TrialProgress | None = None,
    resume_from: Path | None = None,
) -> dict[str, Any]:
    """Fit once and measure on the held-out materials; plain values.

    start:       the IPA model that a transfer starts from; None: one is fitted first
    resume_from: where the fit notes how far it is and goes on from; removed when it is done

    Raises InputError when there is too little to learn from.
    """
    plan = plan.for_grid(dataset.energies_ev.size)
    data = trial_data(dataset, plan, rule)
    start_state = None if resume_from is None else resume_from.with_name(resume_from.name + ".base")
    if plan.base is not None and start is None:
        start = fit_base(data, plan, on_progress=on_progress, resume_from=start_state)
    report, metrics = fit_and_measure(
        data, plan, start=start, on_progress=on_progress, resume_from=resume_from
    )
    for state in (resume_from, start_state):
        if state is not None:
            state.unlink(missing_ok=True)
    split = judged_split(data, plan)
    return {
        **_described(plan),
        "split": {"hash": rule.hash, **_sizes(split)},
        "n_learning": split.n_learning,
        **_told(report),
        "metrics": metrics,
    }


def cross_validate(
    dataset: Dataset,
    plan: TrialPlan,
    n_folds: int,
    *,
    rule: SplitRule = DEFAULT_RULE,
    start: SpectrumNetwork | None = None,
    on_progress: TrialProgress | None = None,
) -> dict[str, Any]:
    """One fit a fold, each measured on its fold; plain values with mean and standard deviation.

    Raises InputError when there is too little to learn from.
    """
    plan = plan.for_grid(dataset.energies_ev.size)
    records = []
    for number, data in enumerate(fold_data(dataset, plan, n_folds, rule=rule), start=1):
        name = f"fold {number} of {n_folds}"
        base = start
        if plan.base is not None and start is None:
            base = fit_base(data, plan, on_progress=on_progress, name=name)
        report, metrics = fit_and_measure(data, plan, start=base, on_progress=on_progress, name=name)
        records.append({**_sizes(judged_split(data, plan)), **_told(report), "metrics": metrics})
    mean: dict[str, dict[str, float]] = {}
    spread: dict[str, dict[str, float]] = {}
    for measure in records[0]["metrics"]:
        mean[measure], spread[measure] = mean_and_spread([r["metrics"][measure] for r in records])
    return {
        **_described(plan),
        "split": {"hash": rule.hash, "n_folds": n_folds},
        "folds": records,
        "mean": mean,
        "standard_deviation": spread,
    }


def data_of(dataset: Dataset, rule: SplitRule) -> Data:
    """All rows for a base and those with both rungs for what follows, with the parts of each."""
    both = dataset.with_rpa
    return Data(dataset, split_crystals(dataset.crystals, rule), both, split_crystals(both.crystals, rule))


def trial_data(dataset: Dataset, plan: TrialPlan, rule: SplitRule) -> Data:
    """:func:`data_of`, if there is enough of it. Raises InputError where there is not."""
    data = data_of(dataset, rule)
    if plan.kind != "base" and len(data.both) == 0:
        raise InputError(
            f"none of the {len(dataset)} materials has an RPA spectrum, and {plan.kind} learns from these",
            fix="Compute some: `farm seed --rung rpa`; from IPA alone learns `farm train base`",
        )
    split = judged_split(data, plan)
    if missing := n_missing(split):
        raise InputError(
            f"{split.n_learning} materials to learn from and {split.held_out.size} held out are too few",
            fix=f"Let the farm compute at least {missing} more",
        )
    return data


def fold_data(
    dataset: Dataset, plan: TrialPlan, n_folds: int, *, rule: SplitRule = DEFAULT_RULE
) -> list[Data]:
    """What each fold learns from and is measured on; the base under a transfer has not seen it either.

    Folds do not depend on the seed of the fits, so that several of them can be compared. Raises InputError
    when a fold is too small to learn from or to measure on.
    """
    data = trial_data(dataset, plan, rule)
    judged = data.everything if plan.kind == "base" else data.both
    folds = assign_folds(judged.crystals, n_folds, rule=rule)
    found = []
    for number in range(n_folds):
        split = fold_split(data.both.crystals, folds, number, rule=rule)
        part = Data(dataset, fold_split(dataset.crystals, folds, number, rule=rule), data.both, split)
        if n_missing(judged_split(part, plan)):
            raise InputError(
                f"{judged_split(data, plan).n_learning} materials are too few for {n_folds} folds",
                fix="Ask for fewer folds, or let the farm compute more",
            )
        found.append(part)
    return found


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
) -> tuple[FitReport, dict[str, dict[str, float]]]:
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


def _similarity_measures(
    model: SpectrumNetwork, dataset: Dataset, split: Split
) -> dict[str, dict[str, float]]:
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
    known = rung != "similarity" and split.validation.size > 0
    truth = (dataset.ipa if rung == "ipa" else dataset.rpa).numpy() if known else np.empty(0)

    def progress(_: str, epoch: int, loss: float, validation_loss: float) -> None:
        scores = score_model(model, dataset, split.validation, truth) if known else ()
        on_progress(
            Step(
                stage=stage,
                epoch=epoch,
                epochs=plan.epochs,
                loss=loss,
                validation_loss=validation_loss,
                validation_sc=summarise(scores).median_sc if known else None,
            )
        )

    return progress


def _described(plan: TrialPlan) -> dict[str, Any]:
    return {
        "kind": plan.kind,
        "architecture": plan.model.architecture,
        "model": plan.model.to_dict(),
        "plan": plan.fit.recipe,
        "base": None if plan.base is None else plan.base.recipe,
        "device": plan.fit.device,
    }


def _sizes(split: Split) -> dict[str, int]:
    return {
        "n_train": int(split.train.size),
        "n_validation": int(split.validation.size),
        "n_held_out": int(split.held_out.size),
    }


def _told(report: FitReport) -> dict[str, Any]:
    return {
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stopped_by": report.stopped_by,
        "seconds": round(report.seconds, 3),
    }
