"""From what the store holds to a promoted checkpoint: base on IPA, transfer to RPA, measure, decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from trainer.checkpoints.card import Card
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.split import Split, split_crystals
from trainer.data.split_file import rule_from_file
from trainer.fitting.metrics import Metrics
from trainer.fitting.new_version import config_for, given_base, new_version, request_hash
from trainer.fitting.promotion import (
    Comparison,
    HeldOut,
    compare,
    fitted_before,
    held_out_set,
    load_current,
)
from trainer.fitting.recipes import RefitPlan, default_plan
from trainer.fitting.rungs import Data, RefitProgress
from trainer.fitting.workbench import Request, Workbench, workbench

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
    comparison:       with the checkpoint in use before, on the same held-out materials; None: there
                      was none to compare with
    n_rpa:            RPA spectra that the store held when the refit was asked for that now ended
    """

    outcome: RefitOutcome
    message: str
    n_learning: int
    n_held_out: int
    n_missing: int = 0
    version: str | None = None
    base_reused: bool = False
    metrics: dict[str, Metrics] | None = None
    comparison: Comparison | None = None
    n_rpa: int | None = None


def refit(
    store_path: Path,
    checkpoints_dir: Path,
    *,
    now: datetime,
    plan: RefitPlan | None = None,
    split_file: Path | None = None,
    n_rpa: int | None = None,
    on_progress: RefitProgress | None = None,
) -> RefitReport:
    """Refit to a store; see :func:`refit_dataset`.

    split_file: lists of ids that say what is held out, see trainer.data.split_file

    Raises StoreError, CheckpointError, and InputError for a file that is no split.
    """
    dataset = load_dataset(store_path)
    plan = plan or default_plan()
    if split_file is not None:
        plan = replace(plan, rule=rule_from_file(split_file, dataset.crystals, rule=plan.rule))
    return refit_dataset(
        dataset,
        Registry(checkpoints_dir),
        now=now,
        plan=plan,
        n_rpa=n_rpa,
        on_progress=on_progress,
    )


def refit_dataset(
    dataset: Dataset,
    registry: Registry,
    *,
    now: datetime,
    plan: RefitPlan | None = None,
    n_rpa: int | None = None,
    on_progress: RefitProgress | None = None,
) -> RefitReport:
    """Fit base and transfer, write a checkpoint, promote it unless the one in use is better.

    Asked twice for the same data and plan it fits once: messages may be delivered again. One that was
    killed is gone on with, on the materials it had begun with: what has arrived since waits for the next.
    One refit at a time: another that runs in the same directory is a CheckpointError.
    """
    plan = plan or default_plan()
    given = given_base(registry, plan)
    if given is None:
        plan = replace(plan, model=replace(plan.model, n_energies=dataset.energies_ev.size))
    else:
        plan = replace(plan, model=config_for(given, dataset))
    split = split_crystals(dataset.with_rpa.crystals, plan.rule)
    if missing := n_missing(split):
        return RefitReport(
            outcome=RefitOutcome.WAITING,
            message=f"waiting: {missing} more RPA spectra before a first fit",
            n_learning=split.n_learning,
            n_held_out=split.held_out.size,
            n_missing=missing,
            n_rpa=n_rpa,
        )
    with workbench(registry.directory) as bench:
        dataset, n_rpa = _pinned(dataset, plan, bench, n_rpa)
        report = _refit(dataset, registry, bench, now, plan, on_progress)
        bench.clear()
    return replace(report, n_rpa=n_rpa)


def _pinned(
    dataset: Dataset, plan: RefitPlan, bench: Workbench, n_rpa: int | None
) -> tuple[Dataset, int | None]:
    """The materials that a killed refit had begun with, else all of them."""
    held = bench.request()
    if held is not None:
        wanted = set(held.materials)
        before = dataset.take([i for i, row in enumerate(dataset.rows) if row.material_id in wanted])
        if request_hash(before, plan) == held.request:
            return before, held.n_rpa
    ids = tuple(row.material_id for row in dataset.rows)
    bench.begin(Request(request=request_hash(dataset, plan), materials=ids, n_rpa=n_rpa))
    return dataset, n_rpa


def _refit(
    dataset: Dataset,
    registry: Registry,
    bench: Workbench,
    now: datetime,
    plan: RefitPlan,
    on_progress: RefitProgress | None,
) -> RefitReport:
    both = dataset.with_rpa
    split = split_crystals(both.crystals, plan.rule)
    data = Data(dataset, split_crystals(dataset.crystals, plan.rule), both, split)
    current = load_current(registry)
    request = request_hash(dataset, plan)
    card = fitted_before(registry, request)
    if card is not None and current is not None and card.version == current.card.version:
        return RefitReport(
            outcome=RefitOutcome.UNCHANGED,
            message=f"{card.version} was fitted to the same data already",
            n_learning=split.n_learning,
            n_held_out=split.held_out.size,
            version=card.version,
        )
    held_out = held_out_set(both, split.held_out, plan.rule.hash, current.card if current else None)
    if card is None:
        card = new_version(data, held_out, registry, bench, now, plan, current, on_progress)
    comparison = compare(current, card, both, held_out)
    promoted = comparison is None or comparison.is_not_worse
    _decide(registry, card, comparison, promoted=promoted)
    return RefitReport(
        outcome=RefitOutcome.PROMOTED if promoted else RefitOutcome.NOT_BETTER,
        message=_message(card, held_out, comparison, promoted=promoted),
        n_learning=split.n_learning,
        n_held_out=split.held_out.size,
        version=card.version,
        base_reused="reused_from" in card.base,
        metrics={name: Metrics(**found) for name, found in card.metrics.items()},
        comparison=comparison,
    )


def _decide(registry: Registry, card: Card, comparison: Comparison | None, *, promoted: bool) -> None:
    numbers = {} if comparison is None else asdict(comparison)
    if promoted:
        why = "nothing to compare with" if comparison is None else "not worse on the held-out materials"
        registry.promote(card.version, reason=why, **numbers)
    else:
        registry.record_refusal(card.version, reason="worse on the held-out materials", **numbers)


def _message(card: Card, held_out: HeldOut, comparison: Comparison | None, *, promoted: bool) -> str:
    verb = "promoted" if promoted else "kept aside, it is not better"
    text = f"{card.version} {verb}: held-out median SC {card.median_sc:.3f}"
    if comparison is not None:
        text += f", {comparison.before:.3f} before ({comparison.p_worse:.0%} likely worse)"
    return f"{text}; held-out set {held_out.version}: {held_out.rows.size} materials"


def n_missing(split: Split) -> int:
    """Materials that must still come, at least, before a first fit."""
    learning = max(MIN_LEARNING - split.n_learning, MIN_TRAIN - split.train.size, 0)
    return learning + max(MIN_HELD_OUT - split.held_out.size, 0)
