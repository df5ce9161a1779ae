"""The OPTIMATE network: a crystal graph in, one spectrum out. Configuration and model in one file.

Grunert, Grossmann, Runge, Phys. Rev. Materials 8, L122201 (2024): embedding, two GATv2 layers
(Brody, Alon, Yahav, ICLR 2022), vector-attention pooling, output network. Attributes carry the
authors' names, so their state dicts load; the multilayer perceptrons normalise by batch and use
ReLU inside, and the layers that pass messages have no activation between them, as theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import MLP

from trainer.networks.graph import N_NODE_FEATURES
from trainer.networks.layers import ShellAttention, segment_softmax, segment_sum, segments
from trainer.networks.network import NetworkConfig, SpectrumNetwork

# The slope of the last activation below zero; see OptiMate.forward.
OUTPUT_SLOPE = 0.01


@dataclass(frozen=True, kw_only=True)
class OptiMateConfig(NetworkConfig):
    """Widths of the network; the defaults are the published ones (4.9 million weights).

    embedding:  hidden and last width of the network over the 13 node features
    attention:  per message-passing layer its channels and heads; heads are concatenated
    output:     hidden widths of the network that turns the pooled vector into a spectrum
    n_energies: points of the spectrum
    """

    architecture: ClassVar[str] = "optimate"

    embedding: tuple[int, ...] = (48, 48)
    attention: tuple[tuple[int, int], ...] = ((48, 4), (96, 4))
    output: tuple[int, ...] = (1024, 1024, 1024)
    n_energies: int = 2001

    @property
    def pooled_width(self) -> int:
        """Numbers that a crystal is summed up in."""
        channels, heads = self.attention[-1]
        return channels * heads


class OptiMate(SpectrumNetwork):
    """Im eps of a crystal on the energy grid.

    mlp_init_node: node features ``(n_nodes, 13)`` -> ``(n_nodes, embedding[-1])``
    gat1, gat2...: message passing over shells with 51 features -> ``(n_nodes, heads * channels)``
    mlp_att:       attention logits, one per node and channel
    mlp1:          pooled vector ``(n_graphs, pooled_width)`` -> ``(n_graphs, n_energies)``
    """

    def __init__(self, config: OptiMateConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or OptiMateConfig()
        self.mlp_init_node = MLP([N_NODE_FEATURES, *config.embedding])
        width = config.embedding[-1]
        for number, (channels, heads) in enumerate(config.attention, start=1):
            self.add_module(f"gat{number}", ShellAttention(width, channels, heads))
            width = channels * heads
        self.mlp_att = MLP([width, width])
        self.mlp1 = MLP([width, *config.output, config.n_energies])

    def forward(self, graph: Data, every: int = 1) -> Tensor:
        """Im eps, dimensionless, shape ``(n_graphs, n_energies)``.

        The last activation is a leaky ReLU as published: small negative values can remain and
        keep a gradient. :func:`trainer.networks.network.predict_spectra`, which everything but the loss
        goes through, cuts them, for Im eps >= 0 in any passive medium.
        """
        spectra: Tensor = self.mlp1(self.pooled(graph))[:, ::every]
        return torch.nn.functional.leaky_relu(spectra, OUTPUT_SLOPE)

    def pooled(self, graph: Data) -> Tensor:
        """One vector a crystal, shape ``(n_graphs, pooled_width)``.

        Per channel a softmax over the nodes of a graph weighs their sum: copies of a node share
        its weight, so a supercell gives the vector of its primitive cell.
        """
        batch, n_graphs = segments(graph)
        nodes = self.mlp_init_node(graph.x)
        # Graphs of torch_geometric alone have every edge by itself.
        count = graph.edge_count if "edge_count" in graph else None
        for number in range(1, len(self.config.attention) + 1):
            layer = self.get_submodule(f"gat{number}")
            nodes = layer(nodes, graph.edge_index, graph.edge_attr, count)
        attention = segment_softmax(self.mlp_att(nodes), batch, n_graphs)
        return segment_sum(nodes * attention, batch, n_graphs)
