"""From what the store holds to a promoted checkpoint: base on IPA, transfer to RPA, measure, decide."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import farm
from farm.errors import CheckpointError
from trainer.card import Card, read_card
from trainer.dataset import Dataset, load_dataset
from trainer.fit import FROM_SCRATCH, TRANSFER, FitPlan, FitReport, fit
from trainer.metrics import HeldOutScores, Metrics, score_model, summarise
from trainer.optimate import OptiMate, OptiMateConfig, new_model
from trainer.registry import Registry, Rung
from trainer.split import DEFAULT_RULE, Split, SplitRule, composition_key, split_crystals

LOGGER = logging.getLogger(__name__)

# Below these a fit is noise and its promotion a coin toss.
MIN_LEARNING = 4
MIN_TRAIN = 2
MIN_HELD_OUT = 2

# (stage, epoch, training loss, validation loss), stage ``ipa`` or ``rpa``
RefitProgress = Callable[[str, int, float, float], None]


class RefitOutcome(StrEnum):
    """How a refit ended."""

    WAITING = "waiting"
    UNCHANGED = "unchanged"
    PROMOTED = "promoted"
    NOT_BETTER = "not_better"


@dataclass(frozen=True, kw_only=True)
class RefitPlan:
    """How to refit.

    base, transfer: of the IPA fit from scratch and of the RPA fit that starts from it
    base_growth:    the parent's base is used again while the materials to learn from are at most
                    this many times those it was fitted to
    model:          widths; its ``n_energies`` is replaced by that of the data
    """

    base: FitPlan = FROM_SCRATCH
    transfer: FitPlan = TRANSFER
    base_growth: float = 1.5
    model: OptiMateConfig = field(default_factory=OptiMateConfig)
    rule: SplitRule = DEFAULT_RULE


@dataclass(frozen=True, kw_only=True)
class RefitReport:
    """What a refit came to; ``message`` says it in one sentence.

    n_missing:        materials still to come before a fit makes sense (outcome waiting)
    version:          the checkpoint written, or the one that already answers (outcome unchanged)
    metrics:          held-out medians: ``rpa``, ``ipa``, ``ipa_as_rpa``
    latest_median_sc: of the checkpoint in use before, on the same held-out materials; None: there
                      was none to compare with
    """

    outcome: RefitOutcome
    message: str
    n_learning: int
    n_held_out: int
    n_missing: int = 0
    version: str | None = None
    base_reused: bool = False
    metrics: dict[str, Metrics] | None = None
    latest_median_sc: float | None = None


def refit(
    store_path: Path,
    checkpoints_dir: Path,
    *,
    now: datetime,
    plan: RefitPlan | None = None,
    on_progress: RefitProgress | None = None,
) -> RefitReport:
    """Refit to a store; see :func:`refit_dataset`. Raises StoreError, CheckpointError."""
    return refit_dataset(
        load_dataset(store_path), Registry(checkpoints_dir), now=now, plan=plan, on_progress=on_progress
    )


def refit_dataset(
    dataset: Dataset,
    registry: Registry,
    *,
    now: datetime,
    plan: RefitPlan | None = None,
    on_progress: RefitProgress | None = None,
) -> RefitReport:
    """Fit base and transfer, write a checkpoint, promote it unless the one in use is better.

    Asked twice for the same data and plan it fits once: messages may be delivered again.
    """
    plan = plan or RefitPlan()
    plan = replace(plan, model=replace(plan.model, n_energies=dataset.energies_ev.size))
    split = split_crystals(dataset.crystals, plan.rule)
    if missing := n_missing(split):
        return _report(
            RefitOutcome.WAITING, f"waiting: {missing} more before a first fit", split, n_missing=missing
        )
    request = request_hash(dataset, plan)
    if done := _fitted_before(registry, request):
        return _report(
            RefitOutcome.UNCHANGED, f"{done} was fitted to the same data already", split, version=done
        )

    current = _load_latest(registry)
    base, base_record = _base(dataset, split, plan, current, on_progress)
    rpa = copy.deepcopy(base)
    rpa_report = fit_rung(rpa, "rpa", dataset, split, plan.transfer, on_progress)
    scores = HeldOutScores.measure(base, rpa, dataset, split.held_out)
    card = Card(
        parent=current.card.version if current else None,
        created=now.isoformat(),
        n_train=split.n_learning,
        model=plan.model.to_dict(),
        energy_max_ev=float(dataset.energies_ev[-1]),
        base=base_record,
        transfer=_fit_record(plan.transfer, rpa_report, split),
        dataset={**_sizes(dataset, split), "hash": dataset.hash, "request": request},
        split={"hash": plan.rule.hash, **asdict(plan.rule), "held_out": _compositions(dataset, split)},
        protocol_hashes=dataset.protocol_hashes,
        metrics={name: metrics.to_dict() for name, metrics in scores.metrics.items()},
        held_out=scores.per_material(dataset, split.held_out),
        software=_software(),
    )
    card = registry.write({"ipa": base, "rpa": rpa}, card)
    return _decide(card, scores, current, dataset, split, registry)


def n_missing(split: Split) -> int:
    """Materials that must still come, at least, before a first fit."""
    learning = max(MIN_LEARNING - split.n_learning, MIN_TRAIN - split.train.size, 0)
    return learning + max(MIN_HELD_OUT - split.held_out.size, 0)


def fit_rung(
    model: OptiMate,
    rung: Rung,
    dataset: Dataset,
    split: Split,
    plan: FitPlan,
    on_progress: RefitProgress | None = None,
) -> FitReport:
    """Fit ``model`` in place to the spectra of one rung."""
    return fit(
        model,
        dataset.graphs,
        dataset.ipa if rung == "ipa" else dataset.rpa,
        train=split.train,
        validation=split.validation,
        plan=plan,
        on_progress=None if on_progress is None else partial(on_progress, rung),
    )


def request_hash(dataset: Dataset, plan: RefitPlan) -> str:
    """SHA-256 of everything that a refit depends on, but for the parent."""
    asked = [dataset.hash, plan.base.to_dict(), plan.transfer.to_dict(), plan.base_growth]
    asked += [plan.model.to_dict(), asdict(plan.rule)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def may_reuse_base(card: Card, dataset: Dataset, split: Split, plan: RefitPlan) -> bool:
    """True when the parent's base may start the transfer.

    It must be of the same widths, plan, protocol and split (else it has seen what is held out), and
    fitted to nearly as much as there is now.
    """
    same = (
        card.split.get("hash") == plan.rule.hash
        and dict(card.model) == plan.model.to_dict()
        and card.base.get("plan") == plan.base.to_dict()
        and card.protocol_hashes == dataset.protocol_hashes
    )
    return same and split.n_learning <= plan.base_growth * int(card.base["n_materials"])


@dataclass(frozen=True)
class _Current:
    """The checkpoint in use when a refit starts."""

    card: Card
    ipa: OptiMate
    rpa: OptiMate


def _load_latest(registry: Registry) -> _Current | None:
    if registry.latest() is None:
        return None
    try:
        (ipa, card), (rpa, _) = registry.load(rung="ipa"), registry.load(rung="rpa")
    except CheckpointError as error:
        # A damaged checkpoint serves nobody: what is fitted now replaces it.
        LOGGER.warning("the checkpoint in use is left out: %s", error)
        return None
    return _Current(card, ipa, rpa)


def _fitted_before(registry: Registry, request: str) -> str | None:
    for version in registry.versions():
        try:
            if read_card(registry.directory / version).dataset.get("request") == request:
                return version
        except CheckpointError as error:
            LOGGER.warning("%s", error)
    return None


def _base(
    dataset: Dataset,
    split: Split,
    plan: RefitPlan,
    current: _Current | None,
    on_progress: RefitProgress | None,
) -> tuple[OptiMate, Mapping[str, Any]]:
    """The IPA model and its record: the parent's where it will do, else fitted from scratch."""
    if current is not None and may_reuse_base(current.card, dataset, split, plan):
        return current.ipa, {**current.card.base, "reused_from": current.card.version}
    model = new_model(plan.model, plan.base.seed)
    report = fit_rung(model, "ipa", dataset, split, plan.base, on_progress)
    return model, _fit_record(plan.base, report, split)


def _decide(
    card: Card,
    scores: HeldOutScores,
    current: _Current | None,
    dataset: Dataset,
    split: Split,
    registry: Registry,
) -> RefitReport:
    """Promote unless the checkpoint in use is better on the same held-out materials."""
    before = None
    # Under another split rule it may have learnt from what is held out now: no comparison.
    comparable = current is not None and current.card.split.get("hash") == card.split["hash"]
    comparable = comparable and current is not None and _same_grid(current.card, card)
    if current is not None and comparable:
        before = summarise(score_model(current.rpa, dataset, split.held_out, dataset.rpa.numpy())).median_sc
    promote = before is None or card.median_sc >= before
    if promote:
        registry.promote(card.version)
    against = "" if before is None else f", {before:.3f} before"
    verb = "promoted" if promote else "kept aside, it is not better"
    return _report(
        RefitOutcome.PROMOTED if promote else RefitOutcome.NOT_BETTER,
        f"{card.version} {verb}: held-out median SC {card.median_sc:.3f}{against}",
        split,
        version=card.version,
        base_reused="reused_from" in card.base,
        metrics=scores.metrics,
        latest_median_sc=before,
    )


def _same_grid(one: Card, other: Card) -> bool:
    return (one.energy_max_ev, one.model.get("n_energies")) == (
        other.energy_max_ev,
        other.model.get("n_energies"),
    )


def _report(outcome: RefitOutcome, message: str, split: Split, **found: Any) -> RefitReport:
    return RefitReport(
        outcome=outcome,
        message=message,
        n_learning=split.n_learning,
        n_held_out=split.held_out.size,
        **found,
    )


def _fit_record(plan: FitPlan, report: FitReport, split: Split) -> dict[str, Any]:
    return {
        "plan": plan.to_dict(),
        "n_materials": split.n_learning,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "validation_loss": report.validation_loss,
        "stopped_by": report.stopped_by,
        "seconds": round(report.seconds, 3),
    }


def _sizes(dataset: Dataset, split: Split) -> dict[str, int]:
    return {
        "n_rows": len(dataset),
        "n_train": split.train.size,
        "n_validation": split.validation.size,
        "n_held_out": split.held_out.size,
        "n_rejected": len(dataset.rejected),
    }


def _compositions(dataset: Dataset, split: Split) -> list[str]:
    return sorted({composition_key(dataset.crystals[i]) for i in split.held_out})


def _software() -> dict[str, str]:
    names = ("torch", "torch-geometric", "numpy", "safetensors")
    versions = {name: installed_version(name) for name in names}
    return {"farm": farm.__version__, "python": platform.python_version(), **versions}
