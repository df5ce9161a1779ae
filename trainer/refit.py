"""From what the store holds to a promoted checkpoint: base on IPA, transfer to RPA, measure, decide."""

from __future__ import annotations

import copy
import hashlib
import json
import platform
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from importlib.metadata import version as installed_version
from pathlib import Path

import farm
from trainer.card import Card
from trainer.dataset import Dataset, load_dataset
from trainer.metrics import HeldOutScores, Metrics
from trainer.promotion import InUse, fitted_before, load_current, median_sc_in_use
from trainer.registry import Registry
from trainer.rungs import RefitPlan, RefitProgress, base_model, default_plan, fit_record, fit_rung
from trainer.split import Split, composition_key, split_crystals

# Below these a fit is noise and its promotion a coin toss.
MIN_LEARNING = 4
MIN_TRAIN = 2
MIN_HELD_OUT = 2


class RefitOutcome(StrEnum):
    """How a refit ended."""

    WAITING = "waiting"
    UNCHANGED = "unchanged"
    PROMOTED = "promoted"
    NOT_BETTER = "not_better"


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

    Asked twice for the same data and plan it fits once: messages may be delivered again. A refit
    that was killed between writing and promoting is then finished.
    """
    plan = plan or default_plan()
    plan = replace(plan, model=replace(plan.model, n_energies=dataset.energies_ev.size))
    split = split_crystals(dataset.crystals, plan.rule)
    if missing := n_missing(split):
        return RefitReport(
            outcome=RefitOutcome.WAITING,
            message=f"waiting: {missing} more before a first fit",
            n_learning=split.n_learning,
            n_held_out=split.held_out.size,
            n_missing=missing,
        )
    current = load_current(registry)
    card = fitted_before(registry, request_hash(dataset, plan))
    if card is not None and current is not None and card.version == current.card.version:
        return RefitReport(
            outcome=RefitOutcome.UNCHANGED,
            message=f"{card.version} was fitted to the same data already",
            n_learning=split.n_learning,
            n_held_out=split.held_out.size,
            version=card.version,
        )
    if card is None:
        card = _fit_and_write(dataset, split, registry, now, plan, current, on_progress)
    before = median_sc_in_use(current, card, dataset, split)
    promoted = before is None or (card.median_sc is not None and card.median_sc >= before)
    if promoted:
        registry.promote(card.version)
    against = "" if before is None else f", {before:.3f} before"
    verb = "promoted" if promoted else "kept aside, it is not better"
    return RefitReport(
        outcome=RefitOutcome.PROMOTED if promoted else RefitOutcome.NOT_BETTER,
        message=f"{card.version} {verb}: held-out median SC {card.median_sc:.3f}{against}",
        n_learning=split.n_learning,
        n_held_out=split.held_out.size,
        version=card.version,
        base_reused="reused_from" in card.base,
        metrics={name: Metrics(**found) for name, found in card.metrics.items()},
        latest_median_sc=before,
    )


def _fit_and_write(
    dataset: Dataset,
    split: Split,
    registry: Registry,
    now: datetime,
    plan: RefitPlan,
    current: InUse | None,
    on_progress: RefitProgress | None,
) -> Card:
    base, base_record = base_model(dataset, split, plan, current, on_progress)
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
        transfer=fit_record(plan.transfer, rpa_report, split),
        dataset={
            **_sizes(dataset, split),
            "hash": dataset.hash,
            "request": request_hash(dataset, plan),
        },
        split={"hash": plan.rule.hash, **asdict(plan.rule), "held_out": _compositions(dataset, split)},
        protocol_hashes=dataset.protocol_hashes,
        metrics={name: metrics.to_dict() for name, metrics in scores.metrics.items()},
        held_out=scores.per_material(dataset, split.held_out),
        software=_software(),
    )
    return registry.write({"ipa": base, "rpa": rpa}, card)


def n_missing(split: Split) -> int:
    """Materials that must still come, at least, before a first fit."""
    learning = max(MIN_LEARNING - split.n_learning, MIN_TRAIN - split.train.size, 0)
    return learning + max(MIN_HELD_OUT - split.held_out.size, 0)


def request_hash(dataset: Dataset, plan: RefitPlan) -> str:
    """SHA-256 of everything that a refit depends on, but for its parent and its device."""
    asked = [dataset.hash, plan.base.recipe, plan.transfer.recipe, plan.base_growth]
    asked += [plan.model.to_dict(), asdict(plan.rule)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


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
