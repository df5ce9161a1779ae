"""A new checkpoint: all its fits, what they came to, and the card that says so."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version as installed_version

import farm
from farm.errors import CheckpointError
from trainer.checkpoints.card import Card, Rung
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset
from trainer.data.split import Split, composition_key
from trainer.fitting.measuring import measured
from trainer.fitting.promotion import HeldOut, InUse
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.rungs import Data, RefitProgress, base_model, similarity_model, transferred
from trainer.fitting.workbench import Workbench
from trainer.networks.network import NetworkConfig, SpectrumNetwork


def new_version(
    data: Data,
    held_out: HeldOut,
    registry: Registry,
    bench: Workbench,
    now: datetime,
    plan: RefitPlan,
    current: InUse | None,
    on_progress: RefitProgress | None,
) -> Card:
    """Fit base, members and the model of SC[RPA; IPA], measure them, and write the version."""
    given = given_base(registry, plan)
    base, base_record = base_model(data, plan, given, current, bench, on_progress)
    rpa, transfer_record = transferred(base, data, plan, bench, on_progress)
    similarity = similarity_model(data, plan, bench, on_progress)
    found = measured(base, rpa, similarity, data, held_out.rows)
    dataset = data.everything
    card = Card(
        parent=current.card.version if current else None,
        created=now.isoformat(),
        n_train=data.split.n_learning,
        model=plan.model.to_dict(),
        energy_max_ev=float(dataset.energies_ev[-1]),
        base=base_record,
        transfer=transfer_record,
        dataset={**_sizes(data), "hash": dataset.hash, "request": request_hash(dataset, plan)},
        split={
            "hash": plan.rule.hash,
            **asdict(plan.rule),
            "held_out": _compositions(data.both, data.split),
            "held_out_version": held_out.version,
            "materials": [data.both.rows[i].material_id for i in held_out.rows],
        },
        protocol_hashes=dataset.protocol_hashes,
        metrics=found.metrics,
        held_out=found.held_out,
        uncertainty=found.uncertainty,
        similarity=found.similarity,
        software=_software(),
    )
    models: dict[Rung, SpectrumNetwork] = {"ipa": base, "rpa": rpa}
    if similarity is not None:
        models["similarity"] = similarity[0]
    return registry.write(models, card)


def given_base(registry: Registry, plan: RefitPlan) -> InUse | None:
    """The checkpoint whose IPA model the plan starts from; None: it names none. Raises CheckpointError."""
    if plan.base_from is None:
        return None
    ipa, card = registry.load(plan.base_from, "ipa")
    return InUse(card, ipa, None)


def config_for(given: InUse, dataset: Dataset) -> NetworkConfig:
    """The widths of a base that is given. Raises CheckpointError for one on another energy grid."""
    config: NetworkConfig = given.ipa.config
    grid = (dataset.energies_ev.size, float(dataset.energies_ev[-1]))
    if (config.n_energies, given.card.energy_max_ev) != grid:
        raise CheckpointError(
            f"the base {given.card.version} gives {config.n_energies} energies to "
            f"{given.card.energy_max_ev:g} eV, the store {grid[0]} to {grid[1]:g} eV",
            fix="Take another with the setting refit_base, or none: the farm fits its own then",
        )
    return config


def request_hash(dataset: Dataset, plan: RefitPlan) -> str:
    """SHA-256 of everything that a refit depends on, but for its parent and its device."""
    asked = [
        dataset.hash,
        plan.base.recipe,
        plan.transfer.recipe,
        plan.base_growth,
        plan.members,
        plan.base_from,
    ]
    asked += [None if plan.similarity is None else plan.similarity.recipe]
    asked += [plan.model.to_dict(), plan.similarity_model.to_dict(), asdict(plan.rule)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _sizes(data: Data) -> dict[str, int]:
    return {
        "n_rows": len(data.both),
        "n_ipa": len(data.everything),
        "n_train": data.split.train.size,
        "n_validation": data.split.validation.size,
        "n_held_out": data.split.held_out.size,
        "n_rejected": len(data.everything.rejected),
    }


def _compositions(dataset: Dataset, split: Split) -> list[str]:
    return sorted({composition_key(dataset.crystals[i]) for i in split.held_out})


def _software() -> dict[str, str]:
    names = ("torch", "torch-geometric", "numpy", "safetensors")
    versions = {name: installed_version(name) for name in names}
    return {"farm": farm.__version__, "python": platform.python_version(), **versions}
