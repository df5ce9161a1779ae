"""OPTIMATE as its authors build it, from torch_geometric's parts, with names in both of their layouts.

Widths as they write them: ``[[embedding...], [channels, heads]..., [output...]]``.
"""

from __future__ import annotations

import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import MLP, GATv2Conv, Sequential
from torch_geometric.utils import scatter, softmax

from farm.crystal import Crystal
from trainer.networks.graph import distance_features, neighbour_list, node_features

Widths = list[list[int]]
N_NODE, N_EDGE = 13, 51


def attention_layers(widths: Widths) -> list[GATv2Conv]:
    n_inputs = widths[0][-1]
    layers = []
    for channels, heads in widths[1:-1]:
        layers.append(GATv2Conv(n_inputs, channels, heads=heads, edge_dim=N_EDGE, add_self_loops=False))
        n_inputs = channels * heads
    return layers


def pooled_width(widths: Widths) -> int:
    channels, heads = widths[-2]
    return channels * heads


class LayoutA(torch.nn.Module):
    """``mlp_init_node``, ``gat1``, ``gat2``, ..., ``mlp_att``, ``mlp1``."""

    def __init__(self, widths: Widths, n_energies: int) -> None:
        super().__init__()
        w = pooled_width(widths)
        self.mlp_init_node = MLP([N_NODE, *widths[0]])
        self.names = []
        for number, layer in enumerate(attention_layers(widths), start=1):
            self.add_module(f"gat{number}", layer)
            self.names.append(f"gat{number}")
        self.mlp_att = MLP([w, w])
        self.mlp1 = MLP([w, *widths[-1], n_energies])

    def forward(self, data: Data) -> torch.Tensor:
        x = self.mlp_init_node(data.x)
        for name in self.names:
            x = getattr(self, name)(x, data.edge_index, data.edge_attr)
        weighted = softmax(self.mlp_att(x), data.batch) * x
        pooled = scatter(weighted, data.batch, dim=0, reduce="sum")
        return torch.nn.functional.leaky_relu(self.mlp1(pooled))


class LayoutB(torch.nn.Module):
    """The same in torch_geometric's ``Sequential``: ``mlp_init_node.module_0``, ``gat.module_0``, ..."""

    def __init__(self, widths: Widths, n_energies: int) -> None:
        super().__init__()
        w = pooled_width(widths)
        self.mlp_init_node = Sequential("x", [(MLP([N_NODE, *widths[0]]), "x -> x")])
        self.gat = Sequential(
            "x, edge_index, edge_attr",
            [(layer, "x, edge_index, edge_attr -> x") for layer in attention_layers(widths)],
        )
        self.mlp_att = Sequential("x", [(MLP([w, w]), "x -> x")])
        self.mlp1 = Sequential("x", [(MLP([w, *widths[-1], n_energies]), "x -> x")])

    def forward(self, data: Data) -> torch.Tensor:
        x = self.gat(self.mlp_init_node(data.x), data.edge_index, data.edge_attr)
        pooled = scatter(softmax(self.mlp_att(x), data.batch) * x, data.batch, dim=0, reduce="sum")
        return torch.nn.functional.leaky_relu(self.mlp1(pooled))


LAYOUTS = {"a": LayoutA, "b": LayoutB}


def published_network(layout: str, widths: Widths, n_energies: int, seed: int = 0) -> torch.nn.Module:
    """With weights and running statistics drawn from a seed, in the mode that predicts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LAYOUTS[layout](widths, n_energies)
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(0.0, 0.5)
            elif name.endswith("running_var"):
                value.uniform_(0.3, 3.0)
            elif name.endswith("num_batches_tracked"):
                value.fill_(1234)
            elif ".norms." in name or name.endswith("bias"):
                value.normal_(0.5, 0.3)
            elif ".lins." in name:
                # First values are so small that all crystals would be nearly the same.
                value.mul_(1.7)
    return network.eval()


def published_graphs(crystals: list[Crystal]) -> Batch:
    """Every pair of atoms within 5 angstrom as an edge by itself."""
    graphs = []
    for crystal in crystals:
        centres, neighbours, distances = neighbour_list(crystal)
        graphs.append(
            Data(
                x=torch.from_numpy(node_features(crystal)),
                edge_index=torch.stack([torch.from_numpy(neighbours), torch.from_numpy(centres)]),
                edge_attr=torch.from_numpy(distance_features(distances)),
            )
        )
    return Batch.from_data_list(graphs)
