"""A version of the registry made of weights that somebody else fitted and nobody measured here."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import farm
from farm.errors import CheckpointError
from trainer.checkpoints.card import Card, Rung, read_card
from trainer.checkpoints.history import Event
from trainer.checkpoints.published import read_published
from trainer.checkpoints.registry import Registry
from trainer.networks.network import SpectrumNetwork
from trainer.networks.optimate import OptiMate, OptiMateConfig


def import_published(registry: Registry, files: Mapping[Rung, Path], *, energy_max_ev: float) -> Card:
    """Write a version with the authors' weights of one rung or both; ``energy_max_ev``: end of their grid.

    It becomes `latest` only where there was none. The same files give the version that there is.
    Raises CheckpointError for files that hold no such network, or two networks of other widths.
    """
    records = {rung: _record(path) for rung, path in files.items()}
    if (known := _imported_before(registry, records)) is not None:
        return known
    read = {rung: read_published(path) for rung, path in files.items()}
    config = _one_config({rung: config for rung, (config, _) in read.items()}, files)
    models: dict[Rung, SpectrumNetwork] = {}
    for rung, (_, weights) in read.items():
        models[rung] = model = OptiMate(config)
        model.load_state_dict(weights)
    card = registry.write(models, _card(config, records, registry.clock().isoformat(), energy_max_ev))
    registry.record(
        Event.IMPORTED,
        card.version,
        origin=", ".join(path.name for path in files.values()),
        reason="weights by others, not measured",
    )
    if registry.latest() is None:
        registry.promote(card.version, reason="the first here")
    return card


def _record(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}


def _imported_before(registry: Registry, records: Mapping[Rung, Mapping[str, Any]]) -> Card | None:
    wanted = {rung: record["sha256"] for rung, record in records.items()}
    for version in registry.versions():
        try:
            card = read_card(registry.directory / version)
        except CheckpointError:
            continue
        found = {"ipa": card.base.get("imported", {}), "rpa": card.transfer.get("imported", {})}
        if {rung: record["sha256"] for rung, record in found.items() if record} == wanted:
            return card
    return None


def _one_config(configs: Mapping[Rung, OptiMateConfig], files: Mapping[Rung, Path]) -> OptiMateConfig:
    for rung, config in configs.items():
        if config.n_energies == 1:
            raise CheckpointError(
                f"{files[rung]}: predicts one number a crystal, not a spectrum",
                fix="Give the weights of an IPA or RPA model",
            )
    first, *others = configs.values()
    if any(config != first for config in others):
        raise CheckpointError(
            f"{' and '.join(map(str, files.values()))}: networks of other widths",
            fix="Import them one by one, each as a version of its own",
        )
    return first


def _card(
    config: OptiMateConfig, records: Mapping[Rung, Mapping[str, Any]], created: str, energy_max_ev: float
) -> Card:
    """What is known of such weights: their files. What is not known is empty, nothing is made up."""
    names = ("torch", "torch-geometric", "numpy", "safetensors")
    software = {name: installed_version(name) for name in names}
    return Card(
        parent=None,
        created=created,
        n_train=None,
        model=config.to_dict(),
        energy_max_ev=energy_max_ev,
        base={"imported": records["ipa"]} if "ipa" in records else {},
        transfer={"imported": records["rpa"]} if "rpa" in records else {},
        dataset={},
        split={},
        protocol_hashes=(),
        metrics={},
        held_out=(),
        software={"farm": farm.__version__, "python": platform.python_version(), **software},
    )
