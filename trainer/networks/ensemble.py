"""Several fits of one network as one: their mean is the prediction, their spread says how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from trainer.networks.network import BATCH_SIZE, SpectrumNetwork, in_batches


class Ensemble(SpectrumNetwork):
    """Members of one configuration that differ in their seed and in what they have seen.

    Crystals are summed up (:meth:`pooled`) by the first member alone: vectors of several have no mean.
    """

    def __init__(self, members: Sequence[SpectrumNetwork]) -> None:
        super().__init__()
        self.config = members[0].config
        self.has_directions = members[0].has_directions
        self.members = torch.nn.ModuleList(members)

    @property
    def _each(self) -> list[SpectrumNetwork]:
        return list(self.members)  # type: ignore[arg-type]  # a ModuleList knows modules only

    @property
    def first(self) -> SpectrumNetwork:
        """The first member."""
        return self._each[0]

    def forward(self, graph: Data, every: int = 1) -> Tensor:
        """The mean of the members, ``(n_graphs, n_energies)``."""
        return self.each(graph)[..., ::every].mean(dim=1)

    def diagonal(self, graph: Data, every: int = 1) -> Tensor:
        """The mean of the members along x, y, z, ``(n_graphs, 3, n_energies)``."""
        return torch.stack([member.diagonal(graph, every) for member in self._each]).mean(dim=0)

    def each(self, graph: Data) -> Tensor:
        """Every member's spectrum, cut at 0, ``(n_graphs, n_members, n_energies)``."""
        return torch.stack([member(graph).clamp(min=0.0) for member in self._each], dim=1)

    def eps_real(self, graph: Data) -> Tensor | None:
        """The mean of the members' real parts, where they give one."""
        found = [member.eps_real(graph) for member in self._each]
        known = [real for real in found if real is not None]
        return torch.stack(known).mean(dim=0) if known else None

    def pooled(self, graph: Data) -> Tensor:
        return self.first.pooled(graph)


def member_spectra(
    model: SpectrumNetwork, graphs: Sequence[Data], *, batch_size: int = BATCH_SIZE
) -> Tensor:
    """What each member says, float32 on the CPU, ``(n_graphs, n_members, n_energies)``; one: itself."""
    n_energies: int = model.config.n_energies
    if not isinstance(model, Ensemble):
        spectra = in_batches(model, model, graphs, n_energies, batch_size).clamp(min=0.0)
        return spectra[:, None, :]
    n_members = len(model.members)
    flat = in_batches(model, lambda g: model.each(g).flatten(1), graphs, n_members * n_energies, batch_size)
    return flat.view(len(graphs), n_members, n_energies)
