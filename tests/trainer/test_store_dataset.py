"""The store as a dataset of torch: what refits learn from, batch by batch, in any process of a loader."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_training_set import OTHER, PROTOCOL, ipa_result, make_result
from torch.utils.data import Subset
from torch_geometric.loader import DataLoader

from farm.errors import StoreError
from farm.job import Outcome
from farm.rung import Rung
from farm.store import StoreWriter
from farm.store.maintenance import compact
from trainer.data.dataset import load_dataset
from trainer.data.store_dataset import StoreDataset
from trainer.networks.graph import crystal_graph

GRAPH = ("x", "edge_index", "edge_attr", "edge_count", "edge_direction", "volume")


@pytest.fixture
def rows(dataset_of):
    return dataset_of(8).rows


@pytest.fixture
def path(tmp_path, rows):
    """Six of both rungs after one that failed first, one of IPA alone, one of another protocol."""
    path = tmp_path / "s.h5"
    failed = make_result(rows[0], outcome=Outcome.FAILED, reason="killed", ladder=())
    with StoreWriter(path) as writer:
        for result in [failed, *map(make_result, rows[5::-1]), ipa_result(rows[6])]:
            assert writer.append(result)
        assert writer.append(make_result(rows[7], protocol=OTHER))
    return path


@pytest.mark.parametrize("rung", [Rung.IPA, Rung.RPA])
def test_it_holds_what_refits_learn_from(path, rung):
    whole = load_dataset(path)
    expected = whole if rung is Rung.IPA else whole.with_rpa
    dataset = StoreDataset(path, rung=rung)
    assert len(dataset) == len(expected) == (7 if rung is Rung.IPA else 6)
    assert [row.material_id for row in dataset.rows] == [row.material_id for row in expected.rows]
    assert np.array_equal(dataset.energies_ev, whole.energies_ev)
    spectra = expected.ipa_diagonal if rung is Rung.IPA else expected.rpa_diagonal
    for item, graph in enumerate(dataset):
        assert graph.material_id == expected.rows[item].material_id
        assert torch.equal(graph[f"{rung}_eps_imag"], spectra[item : item + 1])
        assert f"{'ipa' if rung is Rung.RPA else 'rpa'}_eps_imag" not in graph
        own = crystal_graph(dataset.crystals[item])
        for name in GRAPH:
            assert torch.equal(graph[name], own[name]), name


def test_a_loader_stacks_spectra_and_numbers_sites_through(path):
    dataset = StoreDataset(path, rung=(Rung.IPA, Rung.RPA))
    whole = load_dataset(path).with_rpa
    (batch,) = DataLoader(dataset, batch_size=6)
    assert batch.num_graphs == 6
    assert torch.equal(batch.ipa_eps_imag, whole.ipa_diagonal)
    assert torch.equal(batch.rpa_eps_imag, whole.rpa_diagonal)
    assert batch.material_id == [row.material_id for row in whole.rows]
    assert batch.x.shape == (12, 13)
    assert torch.equal(batch.batch, torch.arange(6).repeat_interleave(2))
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    assert batch.volume.shape == (6,)


def test_a_batch_is_one_reading(path, monkeypatch):
    dataset = StoreDataset(path)
    asked = []
    read = type(dataset._opened()).eps_imag
    monkeypatch.setattr(
        type(dataset._opened()), "eps_imag", lambda *a: asked.append(list(a[2])) or read(*a)
    )
    list(DataLoader(Subset(dataset, [4, 1, 3, 0]), batch_size=3))
    indices = [dataset.rows[item].index for item in (4, 1, 3, 0)]
    assert asked == [indices[:3], indices[3:]]


def test_processes_of_a_loader_open_the_file_for_themselves(path):
    expected = load_dataset(path).with_rpa.rpa_diagonal
    dataset = StoreDataset(path)
    alone = dataset[0]
    batches = list(DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="fork"))
    assert torch.equal(torch.cat([batch.rpa_eps_imag for batch in batches]), expected)
    # Nor does the file of the parent go along to a process that is spawned.
    copied = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own, as loaders do
    assert torch.equal(copied[0].rpa_eps_imag, alone.rpa_eps_imag)


def test_the_protocol_is_the_one_asked_for(path, rows):
    dataset = StoreDataset(path, rung="rpa", protocol_hash=OTHER.hash)
    assert [row.material_id for row in dataset.rows] == [rows[7].material_id]
    assert dataset.rows[0].protocol_hash != PROTOCOL.hash
    assert len(StoreDataset(path, protocol_hash="none")) == 0


def test_what_the_graph_does_not_cover_is_named(path, rows):
    crystal = replace(rows[0].crystal, material_id="NiO", species=("Ni", "O"))
    with StoreWriter(path) as writer:
        writer.append(make_result(replace(rows[0], crystal=crystal)))
    dataset = StoreDataset(path)
    assert len(dataset) == 6
    assert len(dataset.rejected) == 1
    assert "NiO" in dataset.rejected[0]


def test_it_stays_as_it_was_while_the_store_grows(path, rows):
    dataset = StoreDataset(path)
    expected = load_dataset(path).with_rpa.rpa_diagonal
    first = replace(rows[0].crystal, material_id="AAA")
    with StoreWriter(path) as writer:
        writer.append(make_result(replace(rows[0], crystal=first)))
    assert load_dataset(path).with_rpa.rows[0].material_id == "AAA"
    assert torch.equal(torch.cat([graph.rpa_eps_imag for graph in dataset]), expected)


def test_rows_that_moved_are_not_taken_for_others(path):
    dataset = StoreDataset(path)
    compact(path)
    with pytest.raises(StoreError, match=r"rows have moved.*Make it anew"):
        dataset[0]


def test_behind_the_last_there_is_none(path):
    with pytest.raises(IndexError):
        StoreDataset(path)[6]
