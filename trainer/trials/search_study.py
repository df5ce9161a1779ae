"""The study of a search: what is tried, where it is kept, and whether a file holds the same question."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.errors import InputError, MissingProgramError
from trainer.data.dataset import Dataset
from trainer.data.split import SplitRule
from trainer.networks.oscillators import OscillatorConfig
from trainer.trials.trial_plan import TrialPlan

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

BATCH_SIZES = (8, 16, 32, 64, 128)
_LR = (1e-5, 1e-2)
_WEIGHT_DECAY = (1e-6, 1e-1)
_DROPOUT = (0.0, 0.4)
# Trials that run to their end whatever they look like: the median of fewer says nothing.
_FIRST_UNPRUNED = 4
_DATABASES = (".db", ".sqlite", ".sqlite3")


def suggested(trial: Trial, plan: TrialPlan) -> dict[str, Any]:
    """What one trial tries: three digits, so that what is printed is what was tried."""
    found: dict[str, Any] = {
        "lr": rounded(trial.suggest_float("lr", *_LR, log=True)),
        "weight_decay": rounded(trial.suggest_float("weight_decay", *_WEIGHT_DECAY, log=True)),
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
    }
    if isinstance(plan.model, OscillatorConfig):
        found["dropout"] = rounded(trial.suggest_float("dropout", *_DROPOUT))
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


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def finished_trials(optuna: Any, study: Study) -> list[FrozenTrial]:
    # One that was killed stays as running for ever: it counts for nothing.
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def _storage(optuna: Any, path: Path) -> Any:
    if path.suffix in _DATABASES:
        return f"sqlite:///{path.absolute()}"
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def open_study(optuna: Any, path: Path | None, plan: TrialPlan, question: str) -> Study:
    """A new study, or the one in the file if it asks the same."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        storage = None if path is None else _storage(optuna, path)
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
    elif asked != question:
        raise InputError(
            f"{path}: holds a search over other materials or of another kind of fit",
            fix="Name a new file with --study",
        )
    waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    if not waiting and not finished_trials(optuna, study):
        # Also where the first one was killed.
        study.enqueue_trial(_first(plan))
    # A sampler draws from its seed on: gone on with, it must not draw the same again.
    study.sampler = optuna.samplers.TPESampler(seed=plan.fit.seed + 1000 * len(study.trials))
    found: Study = study
    return found


def question_of(dataset: Dataset, plan: TrialPlan, n_folds: int, rule: SplitRule) -> str:
    """What the values of two trials must share to be compared."""
    base = None if plan.base is None else plan.base.recipe
    searched = ("lr", "weight_decay", "batch_size")
    fit = {name: value for name, value in plan.fit.recipe.items() if name not in searched}
    model = {name: value for name, value in plan.model.to_dict().items() if name != "dropout"}
    asked = [dataset.hash, plan.kind, model, fit, base, n_folds, rule.hash]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def load_optuna() -> Any:
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
