"""Which networks there are: from the fields of a card to a model, and new ones from a seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from farm.errors import CheckpointError
from trainer.networks.ensemble import Ensemble
from trainer.networks.network import NetworkConfig, SpectrumNetwork
from trainer.networks.optimate import OptiMate, OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig, OscillatorNet

_NETWORKS: dict[str, tuple[type[NetworkConfig], type[SpectrumNetwork]]] = {
    OptiMateConfig.architecture: (OptiMateConfig, OptiMate),
    OscillatorConfig.architecture: (OscillatorConfig, OscillatorNet),
}
ARCHITECTURES = tuple(_NETWORKS)
_MEMBER = re.compile(r"members\.[0-9]{1,4}\.")


def config_from_dict(data: Mapping[str, Any]) -> NetworkConfig:
    """The configuration that a card holds. Raises CheckpointError for an architecture not known here."""
    # The first cards did not name it: there was one.
    name = data.get("architecture", OptiMateConfig.architecture)
    if name not in _NETWORKS:
        raise CheckpointError(
            f"the architecture {name!r} is not known here",
            fix=f"Known are {', '.join(ARCHITECTURES)}; a newer version of farm may know it",
        )
    return _NETWORKS[name][0].from_dict(data)


def build(config: NetworkConfig) -> SpectrumNetwork:
    """A network of this configuration, its weights drawn from torch's generator."""
    network: Any = _NETWORKS[config.architecture][1]
    model: SpectrumNetwork = network(config)
    return model


def model_of(config: NetworkConfig, weights: Mapping[str, Tensor]) -> SpectrumNetwork:
    """The network that these weights belong to, several members where there are.

    Raises RuntimeError where they do not fit the configuration.
    """
    _require_fit(config, weights)
    numbers = {int(name.split(".")[1]) for name in weights if name.startswith("members.")}
    members = [build(config) for _ in range(len(numbers) or 1)]
    model = Ensemble(members) if numbers else members[0]
    model.load_state_dict(dict(weights))
    return model


def _require_fit(config: NetworkConfig, weights: Mapping[str, Tensor]) -> None:
    """Before any memory is taken: widths come from a card, and a card may come from anywhere."""
    with torch.device("meta"):
        expected = {name: value.shape for name, value in build(config).state_dict().items()}
    members: dict[str, dict[str, torch.Size]] = {}
    for name, value in weights.items():
        member, name_there = _MEMBER.match(name), name
        if member is not None:
            name_there = name[member.end() :]
        members.setdefault(member[0] if member else "", {})[name_there] = value.shape
    if any(shapes != expected for shapes in members.values()) or not members:
        raise RuntimeError("names or shapes differ from those of the card")


def new_model(config: NetworkConfig, seed: int) -> SpectrumNetwork:
    """A model with weights drawn from ``seed``; the state of torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)
