"""`farm train --search`: a recipe found by trying, judged on folds of what may be learnt from.

Searched is what the authors searched: the step of Adam, weight decay and batch size, of the oscillators
dropout too; by optuna's tree of Parzen estimators (Bergstra et al., NIPS 2011), seeded. The first trial is
the recipe that is there already, so that the best is never worse than it on these folds. A trial whose
validation loss is above the median of the others at the same place of the fit ends early. The held-out
materials are not looked at: the score there of the best recipe is an honest one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from farm.errors import FarmError
from trainer.data.dataset import Dataset
from trainer.data.split import DEFAULT_RULE, SplitRule
from trainer.fitting.rungs import Data
from trainer.networks.network import SpectrumNetwork
from trainer.trials.one_fit import Step, fit_and_measure, fit_base
from trainer.trials.search_study import (
    changed,
    finished_trials,
    load_optuna,
    open_study,
    question_of,
    rounded,
    suggested,
)
from trainer.trials.trial import fold_data
from trainer.trials.trial_plan import TrialPlan

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial

DEFAULT_FOLDS = 3


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial: its parameters, and the mean over folds of what is quoted; None: it was ended early."""

    number: int
    parameters: dict[str, Any]
    value: float | None


# (trials done, where the fit of the one that runs is)
SearchProgress = Callable[[int, Step], None]


def search(
    dataset: Dataset,
    plan: TrialPlan,
    n_trials: int,
    *,
    n_folds: int = DEFAULT_FOLDS,
    rule: SplitRule = DEFAULT_RULE,
    study_file: Path | None = None,
    on_trial: Callable[[Tried], None] | None = None,
    on_progress: SearchProgress | None = None,
) -> dict[str, Any]:
    """Try ``n_trials`` recipes, those that the study file holds counted in; plain values.

    ``best``: parameters, ``value``: its mean over folds of the median SC (of a similarity model: of the
    mean error, which is to be small). ``trials``: all of them in order.

    Raises InputError when there is too little to learn from, and when the file holds a search over other
    data or of another plan; MissingProgramError without optuna.
    """
    plan = plan.for_grid(dataset.energies_ev.size)
    parts = fold_data(dataset, plan, n_folds, rule=rule)
    optuna = load_optuna()
    study = open_study(optuna, study_file, plan, question_of(dataset, plan, n_folds, rule))
    objective = _Objective(plan, parts, optuna.TrialPruned)
    while (n_done := len(finished_trials(optuna, study))) < n_trials:
        trial = study.ask()
        objective.watch = None if on_progress is None else partial(on_progress, n_done)
        try:
            study.tell(trial, objective(trial))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except FarmError:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        if on_trial is not None:
            on_trial(_tried(study.trials[trial.number], plan))
    done = [_tried(trial, plan) for trial in finished_trials(optuna, study)]
    best = _tried(study.best_trial, plan)
    return {
        "kind": plan.kind,
        "architecture": plan.model.architecture,
        "n_folds": n_folds,
        "n_trials": len(done),
        "n_ended_early": sum(tried.value is None for tried in done),
        "judged_by": _judged_by(plan),
        "value": best.value,
        "best": best.parameters,
        "trials": [vars(tried) for tried in done],
    }


class _Objective:
    """The mean over folds of what is minimised: 1 - median SC, or the mean error of SC."""

    def __init__(self, plan: TrialPlan, parts: Sequence[Data], pruned: type[Exception]) -> None:
        self.plan, self.parts, self.pruned = plan, parts, pruned
        self.watch: Callable[[Step], None] | None = None
        # Nothing that is searched changes the base: one a fold.
        self._bases: dict[int, SpectrumNetwork] = {}

    def __call__(self, trial: Trial) -> float:
        plan = changed(self.plan, suggested(trial, self.plan))
        values = []
        for number, data in enumerate(self.parts):
            measured = fit_and_measure(
                data, plan, start=self._base(number, plan), on_progress=self._pruning(trial, number)
            )[1][plan.rung]
            values.append(
                measured["mean_error"] if plan.rung == "similarity" else 1.0 - measured["median_sc"]
            )
        return fmean(values)

    def _base(self, number: int, plan: TrialPlan) -> SpectrumNetwork | None:
        if plan.base is None:
            return None
        if number not in self._bases:
            self._bases[number] = fit_base(self.parts[number], plan, on_progress=self.watch)
        return self._bases[number]

    def _pruning(self, trial: Trial, number: int) -> Callable[[Step], None]:
        reported = -1

        def progress(step: Step) -> None:
            nonlocal reported
            # Folds differ in how hard they are, and so do parts of a schedule: hundredths of each fit are
            # compared with the same of others, however many epochs the batch size makes of it.
            place = 100 * number + 99 * (step.epoch + 1) // step.epochs
            if place > reported:
                trial.report(step.validation_loss, place)
                reported = place
            if self.watch is not None:
                self.watch(step)
            if trial.should_prune():
                raise self.pruned

        return progress


def _judged_by(plan: TrialPlan) -> str:
    return "mean_error" if plan.rung == "similarity" else "median_sc"


def _tried(trial: FrozenTrial, plan: TrialPlan) -> Tried:
    parameters = {
        name: rounded(value) if isinstance(value, float) else value for name, value in trial.params.items()
    }
    value = trial.value if trial.state.name == "COMPLETE" else None
    if value is not None and plan.rung != "similarity":
        value = 1.0 - value
    return Tried(number=trial.number, parameters=parameters, value=value)
