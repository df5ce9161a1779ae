"""Several fits of one network as one: their mean is the prediction, their spread says how sure it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch_geometric.data import Data

from trainer.networks.layers import segments
from trainer.networks.network import BATCH_SIZE, SpectrumNetwork, in_batches

# Larger batches and networks are bound by their products, which are faster one member after the other.
_FEW_GRAPHS = 4
_FEW_WEIGHTS = 4_000_000


class Ensemble(SpectrumNetwork):
    """Members of one configuration that differ in their seed and in what they have seen.

    Crystals are summed up (:meth:`pooled`) by the first member alone: vectors of several have no mean.
    """

    def __init__(self, members: Sequence[SpectrumNetwork]) -> None:
        super().__init__()
        self.config = members[0].config
        self.has_directions = members[0].has_directions
        self.members = torch.nn.ModuleList(members)
        self._stacked: tuple[dict[str, Tensor], dict[str, Tensor], SpectrumNetwork] | None = None

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
        n_graphs = segments(graph)[1]
        if n_graphs <= _FEW_GRAPHS and self.first.n_weights <= _FEW_WEIGHTS and not torch.is_grad_enabled():
            return self._together(graph).clamp(min=0.0).transpose(0, 1)
        return torch.stack([member(graph).clamp(min=0.0) for member in self._each], dim=1)

    def _together(self, graph: Data) -> Tensor:
        """All members in one pass, ``(n_members, n_graphs, n_energies)``.

        Of one small crystal the time goes into starting operations: there are fewer then.
        """
        if self._stacked is None:
            weights, buffers = torch.func.stack_module_state(self._each)
            self._stacked = weights, buffers, copy.deepcopy(self.first).to("meta")
        weights, buffers, shell = self._stacked

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            spectrum: Tensor = torch.func.functional_call(shell, (weights, buffers), (graph,))
            return spectrum

        spectra: Tensor = torch.func.vmap(one)(weights, buffers)
        return spectra

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What moves the weights elsewhere leaves the stacked ones behind.
        self._stacked = None
        applied: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        self._stacked = None
        return super().load_state_dict(*arguments, **options)

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
