"""`farm train --search`: a recipe found by trying, judged on folds of what may be learnt from.

Searched is what the authors searched: the step of Adam, weight decay and batch size, of the oscillators
dropout too; by optuna's tree of Parzen estimators (Bergstra et al., NIPS 2011), seeded. The first trial is
the recipe that is there already, so that the best is never worse than it on these folds. A trial whose
validation loss is above the median of the others at the same epoch ends early. The held-out materials are
not looked at: the score there of the best recipe is an honest one.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from farm.errors import FarmError, InputError, MissingProgramError
from trainer.dataset import Dataset
from trainer.network import SpectrumNetwork
from trainer.oscillators import OscillatorConfig
from trainer.rungs import Data
from trainer.split import DEFAULT_RULE, SplitRule
from trainer.trial import Step, fit_and_measure, fit_base, fold_data
from trainer.trial_plan import TrialPlan

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

DEFAULT_FOLDS = 3
BATCH_SIZES = (8, 16, 32, 64, 128)
_LR = (1e-5, 1e-2)
_WEIGHT_DECAY = (1e-6, 1e-1)
_DROPOUT = (0.0, 0.4)
# Trials that run to their end whatever they look like: the median of fewer says nothing.
_FIRST_UNPRUNED = 4
_DATABASES = (".db", ".sqlite", ".sqlite3")


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
    optuna = _optuna()
    study = _study(optuna, study_file, plan, _question(dataset, plan, n_folds, rule))
    objective = _Objective(plan, parts, optuna.TrialPruned)
    while (n_done := len(_finished(optuna, study))) < n_trials:
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
    done = [_tried(trial, plan) for trial in _finished(optuna, study)]
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
        def progress(step: Step) -> None:
            # Folds differ in how hard they are: each epoch of each is compared with the same of others.
            trial.report(step.validation_loss, number * step.epochs + step.epoch)
            if self.watch is not None:
                self.watch(step)
            if trial.should_prune():
                raise self.pruned

        return progress


def suggested(trial: Trial, plan: TrialPlan) -> dict[str, Any]:
    """What one trial tries: three digits, so that what is printed is what was tried."""
    found: dict[str, Any] = {
        "lr": _rounded(trial.suggest_float("lr", *_LR, log=True)),
        "weight_decay": _rounded(trial.suggest_float("weight_decay", *_WEIGHT_DECAY, log=True)),
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
    }
    if isinstance(plan.model, OscillatorConfig):
        found["dropout"] = _rounded(trial.suggest_float("dropout", *_DROPOUT))
    return found


def changed(plan: TrialPlan, parameters: dict[str, Any]) -> TrialPlan:
    """The plan with what was suggested."""
    fields = {name: value for name, value in parameters.items() if name != "dropout"}
    plan = replace(plan, fit=replace(plan.fit, **fields))
    if isinstance(plan.model, OscillatorConfig) and "dropout" in parameters:
        plan = replace(plan, model=replace(plan.model, dropout=parameters["dropout"]))
    return plan


def _first(plan: TrialPlan) -> dict[str, Any]:
    """The recipe that there is, as near as the bounds of the search allow."""

    def within(value: float, bounds: tuple[float, float]) -> float:
        return min(max(value, bounds[0]), bounds[1])

    found: dict[str, Any] = {
        "lr": within(plan.fit.lr, _LR),
        "weight_decay": within(plan.fit.weight_decay, _WEIGHT_DECAY),
        "batch_size": min(BATCH_SIZES, key=lambda size: abs(size - plan.fit.batch_size)),
    }
    if isinstance(plan.model, OscillatorConfig):
        found["dropout"] = within(plan.model.dropout, _DROPOUT)
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _judged_by(plan: TrialPlan) -> str:
    return "mean_error" if plan.rung == "similarity" else "median_sc"


def _tried(trial: FrozenTrial, plan: TrialPlan) -> Tried:
    parameters = {
        name: _rounded(value) if isinstance(value, float) else value for name, value in trial.params.items()
    }
    value = trial.value if trial.state.name == "COMPLETE" else None
    if value is not None and plan.rung != "similarity":
        value = 1.0 - value
    return Tried(number=trial.number, parameters=parameters, value=value)


def _finished(optuna: Any, study: Study) -> list[FrozenTrial]:
    # One that was killed stays as running for ever: it counts for nothing.
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def _study(optuna: Any, path: Path | None, plan: TrialPlan, question: str) -> Study:
    """A new study, or the one in the file if it asks the same."""
    storage = None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in _DATABASES:
            storage = f"sqlite:///{path.absolute()}"
        else:
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    try:
        study = optuna.create_study(
            study_name="farm train",
            storage=storage,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_FIRST_UNPRUNED),
        )
        asked = study.user_attrs.get("question")
    except Exception as error:  # whatever the driver of the file raises
        raise InputError(f"{path}: not a study: {error}", fix="Name a new file with --study") from error
    if asked is None:
        study.set_user_attr("question", question)
        study.enqueue_trial(_first(plan))
    elif asked != question:
        raise InputError(
            f"{path}: holds a search over other materials or of another kind of fit",
            fix="Name a new file with --study",
        )
    # A sampler draws from its seed on: gone on with, it must not draw the same again.
    study.sampler = optuna.samplers.TPESampler(seed=plan.fit.seed + 1000 * len(study.trials))
    found: Study = study
    return found


def _question(dataset: Dataset, plan: TrialPlan, n_folds: int, rule: SplitRule) -> str:
    """What the values of two trials must share to be compared."""
    base = None if plan.base is None else plan.base.recipe
    searched = ("lr", "weight_decay", "batch_size")
    fit = {name: value for name, value in plan.fit.recipe.items() if name not in searched}
    model = {name: value for name, value in plan.model.to_dict().items() if name != "dropout"}
    asked = [dataset.hash, plan.kind, model, fit, base, n_folds, rule.hash]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _optuna() -> Any:
    with warnings.catch_warnings():
        # Of the libraries below it, when they are imported; nothing that whoever searches could mend.
        warnings.simplefilter("ignore")
        try:
            import optuna
        except ImportError as error:
            raise MissingProgramError(
                "--search needs optuna", fix="Install it with `pip install optuna`"
            ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
