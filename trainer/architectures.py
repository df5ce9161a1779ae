"""Which networks there are: from the fields of a card to a model, and new ones from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from farm.errors import CheckpointError
from trainer.network import NetworkConfig, SpectrumNetwork
from trainer.optimate import OptiMate, OptiMateConfig

_NETWORKS: dict[str, tuple[type[NetworkConfig], type[SpectrumNetwork]]] = {
    OptiMateConfig.architecture: (OptiMateConfig, OptiMate),
}
ARCHITECTURES = tuple(_NETWORKS)


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


def new_model(config: NetworkConfig, seed: int) -> SpectrumNetwork:
    """A model with weights drawn from ``seed``; the state of torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)
