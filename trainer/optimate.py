"""The OPTIMATE network: a crystal graph in, one spectrum out. Configuration and model in one file.

Grunert, Grossmann, Runge, Phys. Rev. Materials 8, L122201 (2024): embedding, two GATv2 layers
(Brody, Alon, Yahav, ICLR 2022), vector-attention pooling, output network. Attributes carry the
authors' names, so their state dicts load; the multilayer perceptrons normalise by batch and use
ReLU inside, and the layers that pass messages have no activation between them, as theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MLP, GATv2Conv
from torch_geometric.utils import scatter, softmax

from farm.errors import CheckpointError
from trainer.graph import N_EDGE_FEATURES, N_NODE_FEATURES

# The slope of the last activation below zero; see OptiMate.forward.
OUTPUT_SLOPE = 0.01


@dataclass(frozen=True, kw_only=True)
class OptiMateConfig:
    """Widths of the network; the defaults are the published ones (4.9 million weights).

    embedding:      hidden and last width of the network over the 13 node features
    attention_1, 2: channels per head of the message-passing layers; heads are concatenated
    output:         hidden widths of the network that turns the pooled vector into a spectrum
    n_energies:     points of the spectrum
    """

    embedding: tuple[int, ...] = (48, 48)
    attention_1: int = 48
    attention_2: int = 96
    heads: int = 4
    output: tuple[int, ...] = (1024, 1024, 1024)
    n_energies: int = 2001

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's card."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OptiMateConfig:
        """The inverse of :meth:`to_dict`. Raises CheckpointError for another architecture."""
        known = {field.name for field in fields(cls)}
        if set(data) != known:
            wrong = ", ".join(sorted(set(data) ^ known))
            raise CheckpointError(
                f"this is not the architecture of this version ({wrong})",
                fix="Read the checkpoint with the version of farm that its card names",
            )
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


class OptiMate(torch.nn.Module):
    """Im eps of a crystal on the energy grid.

    mlp_init_node: node features ``(n_nodes, 13)`` -> ``(n_nodes, embedding[-1])``
    gat1, gat2:    message passing over edges with 51 features -> ``(n_nodes, heads * channels)``
    mlp_att:       attention logits, one per node and channel
    mlp1:          pooled vector ``(n_graphs, heads * attention_2)`` -> ``(n_graphs, n_energies)``
    """

    def __init__(self, config: OptiMateConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or OptiMateConfig()
        width_1 = config.attention_1 * config.heads
        width_2 = config.attention_2 * config.heads
        # Distances of self loops are not defined, so none are added.
        shared: dict[str, Any] = {
            "heads": config.heads,
            "edge_dim": N_EDGE_FEATURES,
            "add_self_loops": False,
        }
        self.mlp_init_node = MLP([N_NODE_FEATURES, *config.embedding])
        self.gat1 = GATv2Conv(config.embedding[-1], config.attention_1, **shared)
        self.gat2 = GATv2Conv(width_1, config.attention_2, **shared)
        self.mlp_att = MLP([width_2, width_2])
        self.mlp1 = MLP([width_2, *config.output, config.n_energies])

    def forward(self, graph: Data) -> Tensor:
        """Im eps, dimensionless, shape ``(n_graphs, n_energies)``.

        The last activation is a leaky ReLU as published: small negative values can remain and
        keep a gradient. :func:`predict_spectra`, which everything but the loss goes through, cuts
        them, for Im eps >= 0 in any passive medium.
        """
        spectra: Tensor = self.mlp1(self.pooled(graph))
        return torch.nn.functional.leaky_relu(spectra, OUTPUT_SLOPE)

    def pooled(self, graph: Data) -> Tensor:
        """One vector a crystal, shape ``(n_graphs, heads * attention_2)``.

        Per channel a softmax over the nodes of a graph weighs their sum: copies of a node share
        its weight, so a supercell gives the vector of its primitive cell.
        """
        batch, n_graphs = graph.batch, 1
        if batch is None:
            batch = torch.zeros(graph.x.shape[0], dtype=torch.int64, device=graph.x.device)
        else:
            n_graphs = graph.num_graphs
        nodes = self.mlp_init_node(graph.x)
        nodes = self.gat1(nodes, graph.edge_index, graph.edge_attr)
        nodes = self.gat2(nodes, graph.edge_index, graph.edge_attr)
        attention = softmax(self.mlp_att(nodes), batch, num_nodes=n_graphs)
        pooled: Tensor = scatter(nodes * attention, batch, dim=0, dim_size=n_graphs, reduce="sum")
        return pooled

    @property
    def n_weights(self) -> int:
        """Number of trainable weights."""
        return sum(parameter.numel() for parameter in self.parameters())


def new_model(config: OptiMateConfig, seed: int) -> OptiMate:
    """A model with weights drawn from ``seed``; the state of torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OptiMate(config)


@torch.no_grad()
def predict_spectra(model: OptiMate, graphs: Sequence[Data], *, batch_size: int = 256) -> Tensor:
    """Im eps of each graph, float32 on the CPU, ``(n_graphs, n_energies)``, nowhere negative."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = [
        model(Batch.from_data_list(list(graphs[start : start + batch_size])).to(device)).cpu()
        for start in range(0, len(graphs), batch_size)
    ]
    model.train(was_training)
    return torch.cat(parts).clamp(min=0.0) if parts else torch.empty(0, model.config.n_energies)


@torch.no_grad()
def pooled_vectors(model: OptiMate, graphs: Sequence[Data], *, batch_size: int = 64) -> Tensor:
    """The pooled vector of each graph, float32 on the CPU, ``(n_graphs, heads * attention_2)``.

    It is what the network knows of a crystal before it draws the spectrum. Small batches stay in the
    caches of a CPU: 64 take two thirds of the time of 256.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = [
        model.pooled(Batch.from_data_list(list(graphs[start : start + batch_size])).to(device)).cpu()
        for start in range(0, len(graphs), batch_size)
    ]
    model.train(was_training)
    width = model.config.heads * model.config.attention_2
    return torch.cat(parts) if parts else torch.empty(0, width)
