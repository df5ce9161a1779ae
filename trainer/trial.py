"""One fit to see how well it does: `farm train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from farm.errors import InputError
from trainer.architectures import new_model
from trainer.dataset import Dataset
from trainer.metrics import score_ipa_as_rpa, score_model, summarise
from trainer.network import NetworkConfig
from trainer.optimate import OptiMateConfig
from trainer.recipes import FROM_SCRATCH, TRANSFER
from trainer.refit import n_missing
from trainer.rungs import fit_rung
from trainer.split import DEFAULT_RULE, SplitRule, split_crystals

Kind = Literal["base", "transfer", "direct"]


def trial(
    dataset: Dataset,
    kind: Kind,
    changes: Mapping[str, Any],
    *,
    config: NetworkConfig | None = None,
    rule: SplitRule = DEFAULT_RULE,
) -> dict[str, Any]:
    """Fit once and measure on the held-out materials; plain values.

    changes: fields of the fit's plan to replace. For a transfer the base takes only those that do
             not steer its quality: seed, device and threads.

    Raises InputError when there is too little to learn from.
    """
    split = split_crystals(dataset.crystals, rule)
    if missing := n_missing(split):
        raise InputError(
            f"{split.n_learning} materials to learn from and {split.held_out.size} held out are too few",
            fix=f"Let the farm compute at least {missing} more",
        )
    config = replace(config or OptiMateConfig(), n_energies=dataset.energies_ev.size)
    shared = {name: changes[name] for name in ("seed", "device", "threads") if name in changes}
    scratch = replace(FROM_SCRATCH, **shared)
    model = new_model(config, scratch.seed)
    if kind == "transfer":
        fit_rung(model, "ipa", dataset, split, scratch)
    plan = replace(TRANSFER if kind == "transfer" else FROM_SCRATCH, **changes)
    rung: Literal["ipa", "rpa"] = "ipa" if kind == "base" else "rpa"
    report = fit_rung(model, rung, dataset, split, plan)
    references = dataset.ipa if rung == "ipa" else dataset.rpa
    scores = {
        rung: score_model(model, dataset, split.held_out, references.numpy()),
        "ipa_as_rpa": score_ipa_as_rpa(dataset, split.held_out),
    }
    return {
        "kind": kind,
        "plan": plan.recipe,
        "n_learning": split.n_learning,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "seconds": round(report.seconds, 3),
        "metrics": {name: summarise(found).to_dict() for name, found in scores.items()},
    }
