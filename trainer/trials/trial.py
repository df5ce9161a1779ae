"""One fit to see how well it does, or one a fold: `farm train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import InputError
from trainer.data.dataset import Dataset
from trainer.data.folds import assign_folds, fold_split, mean_and_spread
from trainer.data.split import DEFAULT_RULE, Split, SplitRule, split_crystals
from trainer.fitting.fit import FitReport
from trainer.fitting.refit import n_missing
from trainer.fitting.rungs import Data
from trainer.networks.network import SpectrumNetwork
from trainer.trials.one_fit import Measures, TrialProgress, fit_and_measure, fit_base, judged_split
from trainer.trials.trial_plan import TrialPlan


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
    on_progress: TrialProgress | None = None,
) -> dict[str, Any]:
    """One fit a fold, each measured on its fold; plain values with mean and standard deviation.

    Raises InputError when there is too little to learn from.
    """
    plan = plan.for_grid(dataset.energies_ev.size)
    records = []
    for number, data in enumerate(fold_data(dataset, plan, n_folds, rule=rule), start=1):
        name = f"fold {number} of {n_folds}"
        start = None if plan.base is None else fit_base(data, plan, on_progress=on_progress, name=name)
        report, metrics = fit_and_measure(data, plan, start=start, on_progress=on_progress, name=name)
        records.append({**_sizes(judged_split(data, plan)), **_told(report), "metrics": metrics})
    mean: Measures = {}
    spread: Measures = {}
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
