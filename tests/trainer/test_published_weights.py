"""The authors' weights in our network: the same spectra, bit for bit back again, and what is refused."""

from __future__ import annotations

import contextlib
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from published_networks import published_graphs, published_network

from farm.crystal import Crystal
from farm.errors import CheckpointError, CrystalError
from farm.sources.bundled import bundled_crystals
from trainer.checkpoints.published import (
    Layout,
    from_published,
    read_published,
    to_published,
    write_published,
)
from trainer.networks.graph import crystal_graph, packed_graph
from trainer.networks.optimate import OptiMate, OptiMateConfig

SMALL = [[8, 6], [5, 3], [4, 2], [9, 7]]
WIDTHS = {
    "published": [[48, 48], [48, 4], [96, 4], [1024, 1024, 1024]],
    "wide": [[96, 96], [192, 8], [192, 2], [2048, 2048, 2048]],
    "three layers": [[16], [8, 2], [6, 3], [5, 1], [32]],
    "one layer, plain output": [[12, 10, 8], [7, 4], []],
    "small": SMALL,
}


@pytest.fixture(scope="module")
def crystals() -> list[Crystal]:
    """Real ones: the first ten of the bundled crystals that the network knows."""
    known = []
    for crystal in bundled_crystals():
        # What is left out are elements of the d block.
        with contextlib.suppress(CrystalError):
            if isinstance(crystal, Crystal):
                crystal_graph(crystal)
                known.append(crystal)
    assert len(known) >= 10
    return known[:10]


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("layout", ["a", "b"])
@pytest.mark.parametrize("name", WIDTHS)
def test_it_predicts_what_the_published_network_predicts(layout: Layout, name, crystals, tmp_path):
    n_energies = 2001 if name == "published" else 33
    network = published_network(layout, WIDTHS[name], n_energies)
    config, weights = read_published(saved(tmp_path / "weights.pt", network.state_dict()))
    assert [list(config.embedding), *map(list, config.attention), list(config.output)] == WIDTHS[name]
    assert config.n_energies == n_energies
    model = OptiMate(config).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        expected = network(published_graphs(crystals))
        found = model(packed_graph(crystals))
    assert found.shape == (10, n_energies)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    # Crystals differ by thousands of times that, or any network would do.
    assert (expected - expected[0]).abs().max() > 5e-3 * expected.abs().max()
    # What is left is the rounding of single precision.
    graphs, ours = published_graphs(crystals), packed_graph(crystals)
    for graph in (graphs, ours):
        graph.x, graph.edge_attr = graph.x.double(), graph.edge_attr.double()
    with torch.no_grad():
        expected, found = network.double()(graphs), model.double()(ours)
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_there_and_back_no_bit_changes(tmp_path):
    for layout in ("a", "b"):
        for prefixed in (False, True):
            state = published_network(layout, SMALL, 11).state_dict()
            given = {f"gatnn.{name}" if prefixed else name: value for name, value in state.items()}
            config, weights = read_published(saved(tmp_path / "in.pt", given))
            model = OptiMate(config)
            model.load_state_dict(weights)
            write_published(to_published(model, layout, prefixed=prefixed), tmp_path / "out.pt")
            back = torch.load(tmp_path / "out.pt", weights_only=True)
            assert list(back) == list(given)
            for name, value in given.items():
                assert back[name].dtype == value.dtype
                assert torch.equal(back[name], value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.pt", "out.pt"]


def test_what_is_written_loads_into_the_published_network(crystals):
    config = OptiMateConfig(embedding=(6,), attention=((4, 2), (3, 2)), output=(8,), n_energies=9)
    model = OptiMate(config).eval()
    for layout in ("a", "b"):
        network = published_network(layout, [[6], [4, 2], [3, 2], [8]], 9, seed=5)
        network.load_state_dict(to_published(model, layout), strict=True)
        with torch.no_grad():
            expected, found = network(published_graphs(crystals)), model(packed_graph(crystals))
        assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("prefix", ["", "gatnn."])
@pytest.mark.parametrize("layout", ["a", "b"])
def test_lightning_checkpoints_are_read(layout, prefix, tmp_path):
    state = published_network(layout, SMALL, 1).state_dict()
    content = {
        "epoch": 7,
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 1e-3, "params": SMALL},
        "optimizer_states": [{"state": {}}],
        "state_dict": {prefix + name: value for name, value in state.items()},
    }
    config, weights = read_published(saved(tmp_path / "a.ckpt", content))
    # One number a crystal: the network of SC[RPA; IPA].
    assert config == OptiMateConfig(
        embedding=(8, 6), attention=((5, 3), (4, 2)), output=(9, 7), n_energies=1
    )
    assert torch.equal(
        weights["mlp1.lins.0.weight"],
        list(state.values())[
            list(state).index("mlp1.lins.0.weight" if layout == "a" else "mlp1.module_0.lins.0.weight")
        ],
    )


def test_older_files_are_read(tmp_path):
    state = published_network("a", SMALL, 5).state_dict()
    expected = from_published(state)
    # Statistics under the names of older versions of torch_geometric, and the format before zip.
    older = {name.replace(".module.", "."): value for name, value in state.items()}
    assert older.keys() != state.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(older, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    config, weights = read_published(tmp_path / "old.pt")
    assert config == expected[0]
    assert all(torch.equal(weights[name], value) for name, value in expected[1].items())
    doubles = {
        name: value.double() if value.is_floating_point() else value for name, value in state.items()
    }
    _, weights = from_published(doubles)
    assert all(torch.equal(weights[name], value) for name, value in expected[1].items())


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


def with_value(name, change):
    return lambda state: {**state, name: change(state[name].clone())}


def poisoned(value):
    def change(tensor):
        tensor.view(-1)[3] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("gat2.att"), r"gat2\.\w+.* in that network|mlp_att|mlp1"),
        (without("gat1.att"), "gat1.att is missing"),
        (without("mlp1.lins.2.bias"), "mlp1.lins.2.bias is missing"),
        (without("mlp1.norms.0.module.running_var"), "mlp1.norms.0.module.running_var is missing"),
        (without("mlp_init_node.lins.0.weight"), "mlp_init_node.lins.0.weight is missing"),
        (lambda state: {**state, "gat1.res.weight": torch.zeros(3)}, "no gat1.res.weight"),
        (lambda state: {**state, "encoder.weight": torch.zeros(3)}, "no encoder.weight"),
        (lambda state: {**state, "gatnn.gat1.att": state["gat1.att"]}, "gat1.att is there twice"),
        (lambda state: {**state, "gat1.att": 3}, "gat1.att is no tensor"),
        (lambda state: {**state, "gat1.att": state["gat1.att"].to_sparse()}, "gat1.att is no tensor"),
        (with_value("gat1.att", lambda value: value.int()), "gat1.att holds torch.int32"),
        (with_value("gat1.att", lambda value: value[0]), "gat1.att has the shape"),
        (with_value("gat1.bias", lambda value: value[:5]), r"gat1.bias has the shape \(5,\), not \(15,\)"),
        (
            with_value("mlp_init_node.lins.0.weight", lambda value: value[:, :12]),
            "mlp_init_node.lins.0.weight",
        ),
        (with_value("gat2.lin_edge.weight", lambda value: value[:, :50]), "gat2.lin_edge.weight"),
        (
            with_value("mlp_att.lins.0.weight", poisoned(float("nan"))),
            "mlp_att.lins.0.weight holds numbers",
        ),
        (with_value("mlp1.norms.0.module.running_mean", poisoned(float("inf"))), "not finite"),
        (with_value("mlp1.norms.0.module.running_var", poisoned(-1.0)), "variances below 0"),
        (lambda _: {}, "no state dict"),
        (lambda state: list(state.values()), "no state dict"),
        (lambda state: {1: state["gat1.att"]}, "no state dict"),
        (lambda _: torch.nn.Linear(3, 4).state_dict(), "there is no weight in that network"),
    ],
)
def test_another_network_is_refused_in_a_sentence(change, message, tmp_path):
    path = saved(tmp_path / "w.pt", change(dict(published_network("a", SMALL, 11).state_dict())))
    with pytest.raises(CheckpointError, match=message) as error:
        read_published(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert error.value.fix


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def test_a_pickle_that_runs_code_is_refused_and_runs_none(tmp_path):
    target = tmp_path / "executed"
    state = published_network("a", SMALL, 11).state_dict()
    for content in ({"state_dict": state, "callbacks": Bomb(target)}, {**state, "gat1.att": Bomb(target)}):
        with pytest.raises(CheckpointError, match="no file of weights alone"):
            read_published(saved(tmp_path / "bomb.pt", content))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb(target)))
    with pytest.raises(CheckpointError, match="no file of weights alone"):
        read_published(tmp_path / "plain.pkl")
    with pytest.raises(CheckpointError, match="no file of weights alone"):
        read_published(saved(tmp_path / "whole.pt", published_network("a", SMALL, 11)))
    assert not target.exists()


def test_damaged_files_are_refused(tmp_path):
    whole = saved(tmp_path / "whole.pt", published_network("b", SMALL, 11).state_dict()).read_bytes()
    path = tmp_path / "cut.pt"
    for n_bytes in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(CheckpointError, match=r"cut\.pt: "):
            read_published(path)
    path.write_bytes(b"<html>Sign in</html>" * 100)
    with pytest.raises(CheckpointError, match=r"cut\.pt: "):
        read_published(path)
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="no file of weights alone"):
            read_published(missing)
