"""The fits of a refit: a base on IPA spectra, used again while it will do, and what follows from it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.checkpoints.card import Card
from trainer.checkpoints.registry import Rung
from trainer.data.dataset import Dataset
from trainer.data.split import Split, composition_key
from trainer.fitting.fit import FitReport, fit
from trainer.fitting.plan import FitPlan
from trainer.fitting.promotion import InUse
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.workbench import Workbench
from trainer.networks.architectures import new_model
from trainer.networks.ensemble import Ensemble
from trainer.networks.network import SpectrumNetwork

# (stage, epoch, training loss, validation loss), stage ``ipa``, ``rpa``, ``rpa 2`` ... or ``similarity``
RefitProgress = Callable[[str, int, float, float], None]

# Of the compositions to learn from, what each member but the first does not see. Members that have all
# seen the same agree where they are wrong: on 400 materials the rank correlation of their disagreement with
# the error rose from 0.09 at a tenth to 0.31 at three tenths; the median SC of their mean fell by 0.011.
LEFT_OUT_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Data:
    """What a refit learns from.

    everything, base_split: all rows with IPA spectra, and their parts
    both, split:            the rows with both rungs, and their parts
    """

    everything: Dataset
    base_split: Split
    both: Dataset
    split: Split


def fit_rung(
    model: SpectrumNetwork,
    rung: Rung,
    dataset: Dataset,
    split: Split,
    plan: FitPlan,
    on_progress: RefitProgress | None = None,
    *,
    stage: str | None = None,
    resume_from: Path | None = None,
) -> FitReport:
    """Fit ``model`` in place to the spectra of one rung, along all directions where it gives them."""
    return fit(
        model,
        dataset.graphs,
        targets_of(dataset, rung, directions=model.has_directions),
        train=split.train,
        validation=split.validation,
        plan=plan,
        on_progress=None if on_progress is None else partial(on_progress, stage or rung),
        resume_from=resume_from,
    )


def targets_of(dataset: Dataset, rung: Rung, *, directions: bool) -> Tensor:
    """What a model of this rung learns, a row a material."""
    if rung == "similarity":
        return dataset.similarity
    if directions:
        return dataset.ipa_diagonal if rung == "ipa" else dataset.rpa_diagonal
    return dataset.ipa if rung == "ipa" else dataset.rpa


def may_reuse_base(card: Card, data: Data, plan: RefitPlan) -> bool:
    """True when the parent's base may start the transfer.

    It must be of the same widths, plan, protocol and split (else it has seen what is held out), and
    fitted to nearly as much as there is now.
    """
    same = (
        card.split.get("hash") == plan.rule.hash
        and dict(card.model) == plan.model.to_dict()
        and card.base.get("recipe") == plan.base.recipe
        and card.protocol_hashes == data.everything.protocol_hashes
    )
    return same and data.base_split.n_learning <= plan.base_growth * int(card.base["n_materials"])


def base_model(
    data: Data,
    plan: RefitPlan,
    given: InUse | None,
    current: InUse | None,
    bench: Workbench,
    on_progress: RefitProgress | None,
) -> tuple[SpectrumNetwork, Mapping[str, Any]]:
    """The IPA model and its record: the one given, the parent's where it will do, else a new fit."""
    if given is not None:
        return copy.deepcopy(given.ipa), {**given.card.base, "reused_from": given.card.version}
    if current is not None and may_reuse_base(current.card, data, plan):
        return current.ipa, {**current.card.base, "reused_from": current.card.version}
    model = new_model(plan.model, plan.base.seed)
    report = bench.fit(
        "ipa",
        model,
        lambda state: fit_rung(
            model, "ipa", data.everything, data.base_split, plan.base, on_progress, resume_from=state
        ),
    )
    return model, fit_record(plan.base, report, data.base_split.n_learning)


def transferred(
    base: SpectrumNetwork,
    data: Data,
    plan: RefitPlan,
    bench: Workbench,
    on_progress: RefitProgress | None,
) -> tuple[SpectrumNetwork, Mapping[str, Any]]:
    """The RPA model and its record: each member starts from the base, never from an earlier RPA model."""
    members, records = [], []
    for number in range(plan.members):
        model = copy.deepcopy(base)
        recipe = replace(plan.transfer, seed=plan.transfer.seed + number)
        part = replace(data.split, train=member_rows(data.both, data.split.train, number))
        stage = "rpa" if number == 0 else f"rpa {number + 1}"
        report = bench.fit(
            stage.replace(" ", "-"),
            model,
            partial(_fit_member, model, data.both, part, recipe, on_progress, stage),
        )
        members.append(model)
        records.append(fit_record(recipe, report, part.n_learning))
    first = {**records[0], "members": records[1:]}
    return (Ensemble(members) if plan.members > 1 else members[0]), first


def _fit_member(
    model: SpectrumNetwork,
    dataset: Dataset,
    split: Split,
    plan: FitPlan,
    on_progress: RefitProgress | None,
    stage: str,
    state: Path,
) -> FitReport:
    return fit_rung(model, "rpa", dataset, split, plan, on_progress, stage=stage, resume_from=state)


def member_rows(dataset: Dataset, train: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """What member ``number`` learns from: all but a fifth of the compositions, the first one all."""
    if number == 0:
        return train

    def is_left_out(row: int) -> bool:
        text = f"member {number}:{composition_key(dataset.crystals[row])}"
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < LEFT_OUT_SHARE

    kept = np.array([row for row in train if not is_left_out(row)], dtype=np.int64)
    return kept if kept.size >= 2 else train


def similarity_model(
    data: Data, plan: RefitPlan, bench: Workbench, on_progress: RefitProgress | None
) -> tuple[SpectrumNetwork, Mapping[str, Any]] | None:
    """The model of SC[RPA; IPA] and its record; None where the plan has none."""
    recipe = plan.similarity
    if recipe is None:
        return None
    model = new_model(plan.similarity_model, recipe.seed)
    report = bench.fit(
        "similarity",
        model,
        lambda state: fit_rung(
            model, "similarity", data.both, data.split, recipe, on_progress, resume_from=state
        ),
    )
    return model, fit_record(recipe, report, data.split.n_learning)


def fit_record(plan: FitPlan, report: FitReport, n_materials: int) -> dict[str, Any]:
    """What a card says of one fit, plain values."""
    return {
        "recipe": plan.recipe,
        "device": plan.device,
        "n_materials": n_materials,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "validation_loss": report.validation_loss,
        "stopped_by": report.stopped_by,
        "seconds": round(report.seconds, 3),
    }
