"""What every network is to the rest: a configuration for the card, spectra, and one vector a crystal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch_geometric.data import Data

from farm.errors import CheckpointError, InputError
from trainer.networks.graph import collate

# Small batches stay in the caches of a CPU: 64 take two thirds of the time of 256.
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(ABC):
    """Widths of a network; each architecture has its own fields, and ``n_energies``."""

    architecture: ClassVar[str]

    n_energies: int

    @property
    @abstractmethod
    def pooled_width(self) -> int:
        """Numbers that a crystal is summed up in."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's card."""
        return {"architecture": self.architecture, **{k: _plain(v) for k, v in asdict(self).items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`. Raises CheckpointError for other fields."""
        values = {key: value for key, value in data.items() if key != "architecture"}
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            wrong = ", ".join(sorted(set(values) ^ known))
            raise CheckpointError(
                f"this is not the architecture of this version ({wrong})",
                fix="Read the checkpoint with the version of farm that its card names",
            )
        return cls(**{key: _frozen(value) for key, value in values.items()})


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


class SpectrumNetwork(torch.nn.Module, ABC):
    """A crystal graph in, one row of numbers on the energy grid out."""

    config: Any
    # Whether :meth:`diagonal` gives anything.
    has_directions = False

    @abstractmethod
    def forward(self, graph: Data, every: int = 1) -> Tensor:
        """Im eps (or whatever it is fitted to), ``(n_graphs, n_energies)``, or every so many-th of them."""

    @abstractmethod
    def pooled(self, graph: Data) -> Tensor:
        """What it knows of each crystal before it draws the spectrum, ``(n_graphs, pooled_width)``."""

    def diagonal(self, graph: Data, every: int = 1) -> Tensor:
        """Im eps along Cartesian x, y, z, ``(n_graphs, 3, n_energies)``.

        Raises InputError for a network that gives none, see ``has_directions``.
        """
        del graph, every
        raise InputError(f"{type(self).__name__} gives no directions")

    def eps_real(self, graph: Data) -> Tensor | None:
        """Re of a third of the trace, ``(n_graphs, n_energies)``; None: it follows from the imaginary part
        on the grid alone, by Kramers-Kronig."""
        del graph
        return None

    @property
    def n_weights(self) -> int:
        """Number of trainable weights."""
        return sum(parameter.numel() for parameter in self.parameters())


def predict_spectra(
    model: SpectrumNetwork, graphs: Sequence[Data], *, batch_size: int = BATCH_SIZE
) -> Tensor:
    """Im eps of each graph, float32 on the CPU, ``(n_graphs, n_energies)``, nowhere negative."""
    return in_batches(model, model, graphs, model.config.n_energies, batch_size).clamp(min=0.0)


def pooled_vectors(
    model: SpectrumNetwork, graphs: Sequence[Data], *, batch_size: int = BATCH_SIZE
) -> Tensor:
    """The pooled vector of each graph, float32 on the CPU, ``(n_graphs, pooled_width)``."""
    return in_batches(model, model.pooled, graphs, model.config.pooled_width, batch_size)


@torch.inference_mode()
def in_batches(
    model: SpectrumNetwork,
    function: Callable[[Data], Tensor],
    graphs: Sequence[Data],
    width: int,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """``function`` of all graphs, ``(n_graphs, width)`` on the CPU; the model's device computes."""
    device = next(model.parameters()).device
    was_training = model.training
    if was_training:
        model.eval()
    parts = [
        function(collate(graphs[start : start + batch_size]).to(device)).float().cpu()
        for start in range(0, len(graphs), batch_size)
    ]
    if was_training:
        model.train()
    # A copy outside of inference mode: who gets it may fit with it.
    return torch.cat([torch.empty(0, width), *parts]).clone()
