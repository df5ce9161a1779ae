"""The two parts both networks are made of: attention over shells, and attention over a crystal's sites."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv

from trainer.networks.graph import N_EDGE_FEATURES


class ShellAttention(GATv2Conv):  # type: ignore[misc]  # torch_geometric is untyped
    """A GATv2 layer (Brody, Alon, Yahav, ICLR 2022) for edges that stand for several.

    Site i gathers ``sum_s a_is W_l x_j(s)`` over its shells s with, per head,
    ``a_is = n_s exp(e_is) / sum_s' n_s' exp(e_is')`` and
    ``e_is = att . leaky_relu(W_l x_j + W_r x_i + W_e f_s)``: what n_s equal edges would give together.
    Weights have the names and first values of ``GATv2Conv``; heads are concatenated. Distances of self
    loops are not defined, so none are added.
    """

    def __init__(self, in_channels: int, channels: int, heads: int) -> None:
        super().__init__(in_channels, channels, heads=heads, edge_dim=N_EDGE_FEATURES, add_self_loops=False)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, edge_count: Tensor | None = None
    ) -> Tensor:
        """``(n_nodes, in_channels)`` to ``(n_nodes, heads * channels)``; None: every edge counts once."""
        source, target = edge_index
        shape = (source.shape[0], self.heads, self.out_channels)
        sent = self.lin_l(x)
        mixed = sent[source] + self.lin_r(x)[target] + self.lin_edge(edge_attr)
        mixed = torch.nn.functional.leaky_relu(mixed, self.negative_slope)
        logits = (mixed.view(shape) * self.att).sum(dim=-1)
        if edge_count is not None:
            logits = logits + edge_count.log()[:, None]
        weights = segment_softmax(logits, target, x.shape[0])
        messages = sent[source].view(shape) * weights[:, :, None]
        bias: Tensor = self.bias
        return segment_sum(messages.flatten(1), target, x.shape[0]) + bias


def segment_softmax(logits: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Softmax over the rows of one segment, for each column by itself; ``(n_rows, ...)`` both ways."""
    index = segment.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    shape = (n_segments, *logits.shape[1:])
    # The largest only keeps exp from overflowing: no gradient goes through it.
    largest = logits.detach().new_full(shape, -torch.inf)
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax")
    powers = (logits - largest[segment]).exp()
    total = powers.new_zeros(shape).index_add(0, segment, powers)
    return powers / total[segment]


def segment_sum(values: Tensor, segment: Tensor, n_segments: int) -> Tensor:
    """Sums of the rows of each segment, ``(n_segments, ...)``."""
    return values.new_zeros(n_segments, *values.shape[1:]).index_add(0, segment, values)


def segments(graph: Data) -> tuple[Tensor, int]:
    """The graph that each node belongs to, ``(n_nodes,)``, and how many there are."""
    if graph.batch is None:
        return torch.zeros(graph.x.shape[0], dtype=torch.int64, device=graph.x.device), 1
    known = graph.n_graphs if "n_graphs" in graph else graph.num_graphs
    return graph.batch, int(known)
