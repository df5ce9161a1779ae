"""The two fits of a refit: a base on IPA spectra, used again while it will do, and what follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from trainer.architectures import new_model
from trainer.card import Card
from trainer.dataset import Dataset
from trainer.fit import FROM_SCRATCH, TRANSFER, FitPlan, FitReport, fit
from trainer.network import NetworkConfig, SpectrumNetwork
from trainer.optimate import OptiMateConfig
from trainer.promotion import InUse
from trainer.registry import Rung
from trainer.split import DEFAULT_RULE, Split, SplitRule

# (stage, epoch, training loss, validation loss), stage ``ipa`` or ``rpa``
RefitProgress = Callable[[str, int, float, float], None]


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
    model: NetworkConfig = field(default_factory=OptiMateConfig)
    rule: SplitRule = DEFAULT_RULE


def default_plan() -> RefitPlan:
    """The published recipe at the sizes of a farm, on the GPU where there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return RefitPlan(base=replace(FROM_SCRATCH, device=device), transfer=replace(TRANSFER, device=device))


def fit_rung(
    model: SpectrumNetwork,
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


def may_reuse_base(card: Card, dataset: Dataset, split: Split, plan: RefitPlan) -> bool:
    """True when the parent's base may start the transfer.

    It must be of the same widths, plan, protocol and split (else it has seen what is held out), and
    fitted to nearly as much as there is now.
    """
    same = (
        card.split.get("hash") == plan.rule.hash
        and dict(card.model) == plan.model.to_dict()
        and card.base.get("recipe") == plan.base.recipe
        and card.protocol_hashes == dataset.protocol_hashes
    )
    return same and split.n_learning <= plan.base_growth * int(card.base["n_materials"])


def base_model(
    dataset: Dataset,
    split: Split,
    plan: RefitPlan,
    current: InUse | None,
    on_progress: RefitProgress | None,
) -> tuple[SpectrumNetwork, Mapping[str, Any]]:
    """The IPA model and its record: the parent's where it will do, else fitted from scratch."""
    if current is not None and may_reuse_base(current.card, dataset, split, plan):
        return current.ipa, {**current.card.base, "reused_from": current.card.version}
    model = new_model(plan.model, plan.base.seed)
    report = fit_rung(model, "ipa", dataset, split, plan.base, on_progress)
    return model, fit_record(plan.base, report, split)


def fit_record(plan: FitPlan, report: FitReport, split: Split) -> dict[str, Any]:
    """What a card says of one fit, plain values."""
    return {
        "recipe": plan.recipe,
        "device": plan.device,
        "n_materials": split.n_learning,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "validation_loss": report.validation_loss,
        "stopped_by": report.stopped_by,
        "seconds": round(report.seconds, 3),
    }
