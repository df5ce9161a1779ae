"""The network: published size and layout, shapes, and the symmetries it must have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATv2Conv

from farm.crystal import Crystal
from farm.errors import CheckpointError
from trainer.networks.architectures import new_model
from trainer.networks.graph import (
    collate,
    crystal_graph,
    crystal_graphs,
    distance_features,
    neighbour_list,
    node_features,
)
from trainer.networks.layers import ShellAttention
from trainer.networks.network import predict_spectra
from trainer.networks.optimate import OptiMate, OptiMateConfig


def supercell(crystal: Crystal, copies: int) -> Crystal:
    """Repeated along the first cell vector."""
    lattice = crystal.lattice * np.array([[copies], [1], [1]])
    sites = [
        (symbol, ((f[0] + n) / copies, f[1], f[2]))
        for n in range(copies)
        for symbol, f in zip(crystal.species, crystal.frac_coords, strict=True)
    ]
    return Crystal.from_dict(
        {
            "material_id": "supercell",
            "lattice_angstrom": lattice.tolist(),
            "species": [s for s, _ in sites],
            "frac_coords": [f for _, f in sites],
        }
    )


@pytest.fixture
def model(small_config: OptiMateConfig) -> OptiMate:
    return new_model(small_config, seed=1).eval()


def test_published_widths_have_4_9_million_weights():
    model = new_model(OptiMateConfig(), seed=0)
    # 3024 + 28992 + 168576 + 147840 + 4544465 and the affine part of six batch normalisations.
    assert model.n_weights == 4_899_137


def test_state_dict_has_the_authors_layout():
    state = OptiMate().state_dict()
    assert {name.split(".")[0] for name in state} == {"mlp_init_node", "gat1", "gat2", "mlp_att", "mlp1"}
    assert state["gat1.lin_l.weight"].shape == (192, 48)
    assert state["gat2.lin_edge.weight"].shape == (384, 51)
    assert state["mlp1.lins.3.weight"].shape == (2001, 1024)
    assert "mlp1.norms.0.module.running_mean" in state


def test_a_batch_gives_what_each_graph_gives(model, rock_salt, wurtzite):
    graphs = [crystal_graph(c) for c in (rock_salt("Mg", "O"), wurtzite, rock_salt("Li", "F"))]
    with torch.no_grad():
        together = model(collate(graphs))
        alone = torch.cat([model(graph) for graph in graphs])
    assert together.shape == (3, 41)
    assert torch.allclose(together, alone, atol=1e-6)
    assert (together - together[0]).abs().max() > 1e-4


def test_order_of_atoms_does_not_matter(model, wurtzite):
    order = [2, 0, 3, 1]
    shuffled = Crystal.from_dict(
        wurtzite.to_dict()
        | {
            "species": [wurtzite.species[i] for i in order],
            "frac_coords": [wurtzite.frac_coords[i] for i in order],
        }
    )
    one, other = predict_spectra(model, [crystal_graph(wurtzite), crystal_graph(shuffled)])
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("copies", [2, 3])
def test_a_supercell_gives_the_spectrum_of_its_cell(model, wurtzite, copies):
    graphs = [crystal_graph(wurtzite), crystal_graph(supercell(wurtzite, copies))]
    assert graphs[1].edge_count.sum() == copies * graphs[0].edge_count.sum()
    one, other = predict_spectra(model, graphs)
    assert torch.allclose(one, other, atol=1e-5)


def test_predictions_are_nowhere_negative_and_leave_the_mode(model, rock_salt):
    model.train()
    with torch.no_grad():
        model.mlp1.lins[-1].bias -= 1.0
    spectra = predict_spectra(model, [crystal_graph(rock_salt("Mg", "O"))])
    assert spectra.min() == 0.0
    assert model.training


def test_weights_depend_on_the_seed_alone(small_config):
    before = torch.random.get_rng_state()
    first, again, other = (new_model(small_config, seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["gat1.lin_l.weight"], other["gat1.lin_l.weight"])


def test_config_survives_its_card_and_refuses_another(small_config):
    assert OptiMateConfig.from_dict(small_config.to_dict()) == small_config
    with pytest.raises(CheckpointError, match="dropout"):
        OptiMateConfig.from_dict(small_config.to_dict() | {"dropout": 0.1})


def published_graph(crystal: Crystal) -> Data:
    """Every periodic image an edge by itself, as the authors have it."""
    centres, neighbours, distances = neighbour_list(crystal)
    return Data(
        x=torch.from_numpy(node_features(crystal)),
        edge_index=torch.from_numpy(np.stack([neighbours, centres])),
        edge_attr=torch.from_numpy(distance_features(distances)),
    )


def test_shells_give_what_all_their_edges_give_in_torch_geometric(wurtzite, rock_salt):
    layer = ShellAttention(13, 5, 3).eval()
    for crystal in (wurtzite, rock_salt("Mg", "O", 4.3)):
        shells, edges = crystal_graph(crystal), published_graph(crystal)
        assert shells.edge_index.shape[1] < edges.edge_index.shape[1] / 3
        with torch.no_grad():
            expected = GATv2Conv.forward(layer, edges.x, edges.edge_index, edges.edge_attr)
            found = layer(shells.x, shells.edge_index, shells.edge_attr, shells.edge_count)
            uncounted = layer(shells.x, shells.edge_index, shells.edge_attr)
        assert torch.allclose(found, expected, atol=1e-6)
        assert not torch.allclose(uncounted, expected, atol=1e-3)


def test_a_batch_of_torch_geometric_is_understood(model, wurtzite, rock_salt):
    crystals = [wurtzite, rock_salt("Mg", "O")]
    with torch.no_grad():
        published = model(Batch.from_data_list([published_graph(c) for c in crystals]))
        ours = model(collate(crystal_graphs(crystals)))
    assert torch.allclose(ours, published, atol=1e-6)


def test_gradients_are_those_of_torch_geometric(wurtzite):
    gradients = []
    for graph, forward in (
        (crystal_graph(wurtzite), ShellAttention.forward),
        (published_graph(wurtzite), GATv2Conv.forward),
    ):
        torch.manual_seed(2)
        layer = ShellAttention(13, 4, 2)
        count = [graph.edge_count] if "edge_count" in graph else []
        forward(layer, graph.x, graph.edge_index, graph.edge_attr, *count).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))
    assert gradients[0].abs().max() > 1e-2
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)
