"""The vectorised graph against plain loops, and the encoding against pymatgen's periodic table."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import exp, pi, sqrt

import numpy as np
import pytest
import torch
from pymatgen.core import Element

from farm.crystal import Crystal
from farm.errors import CrystalError
from trainer.networks.graph import (
    MAIN_GROUP_TABLE,
    collate,
    crystal_graph,
    crystal_graphs,
    neighbour_list,
    node_features,
    visible,
)


def loop_edges(crystal: Crystal, cutoff_angstrom: float = 5.0) -> list[tuple[int, int, float]]:
    """(centre, neighbour, distance) by three nested loops over far more images than needed."""
    edges = []
    for i, j in itertools.product(range(crystal.n_atoms), repeat=2):
        for image in itertools.product(range(-4, 5), repeat=3):
            frac = np.array(crystal.frac_coords[j]) + image - np.array(crystal.frac_coords[i])
            distance = float(np.linalg.norm(frac @ crystal.lattice))
            if 1e-6 < distance <= cutoff_angstrom:
                edges.append((i, j, distance))
    return sorted(edges)


@pytest.mark.parametrize("name", ["rock_salt", "wurtzite", "outside"])
def test_edges_are_those_of_plain_loops(name, rock_salt, wurtzite):
    # 4.9 angstrom keeps every shell clear of the cutoff; "outside" has coordinates beyond [0, 1).
    crystal = wurtzite if name == "wurtzite" else rock_salt("Mg", "O", 4.9)
    if name == "outside":
        record = crystal.to_dict() | {"frac_coords": [[-0.25, 1.0, 2.0], [0.25, 1.5, 2.5]]}
        crystal = Crystal.from_dict(record)
    centres, neighbours, distances = neighbour_list(crystal)
    found = sorted(zip(centres.tolist(), neighbours.tolist(), distances.tolist(), strict=True))
    expected = loop_edges(crystal)
    assert [e[:2] for e in found] == [e[:2] for e in expected]
    assert np.allclose([e[2] for e in found], [e[2] for e in expected], atol=1e-9)
    assert len(found) > 20 * crystal.n_atoms


def test_edges_are_those_of_pymatgen_in_a_skewed_cell(rock_salt):
    record = rock_salt("Ca", "O").to_dict()
    record["lattice_angstrom"] = [[3.1, 0.0, 0.0], [-4.2, 3.3, 0.0], [2.9, -1.8, 4.4]]
    record["frac_coords"] = [[0.1, 0.2, 0.3], [0.61, 0.74, 0.82]]
    crystal = Crystal.from_dict(record)
    _, _, _, expected = crystal.to_structure().get_neighbor_list(5.0)
    assert np.allclose(np.sort(neighbour_list(crystal)[2]), np.sort(expected))


def test_graph_has_the_published_features(rock_salt):
    graph = crystal_graph(rock_salt("Mg", "O", 4.2))
    assert graph.x.shape == (2, 13)
    # Mg: column 2, row 3. O: column 16 (sixth of eight), row 2.
    assert torch.nonzero(graph.x).tolist() == [[0, 1], [0, 8 + 2], [1, 5], [1, 8 + 1]]
    assert graph.edge_attr.shape == (graph.edge_index.shape[1], 51)
    nearest = int(torch.argmax(graph.edge_attr[:, 21]))
    expected = [sqrt(10 / pi) * exp(-10 * (2.1 - 0.1 * n) ** 2) for n in range(51)]
    assert np.allclose(graph.edge_attr[nearest], expected, atol=1e-6)


def test_table_is_that_of_the_main_groups():
    columns = (1, 2, 13, 14, 15, 16, 17, 18)
    for row, symbols in enumerate(MAIN_GROUP_TABLE, start=1):
        for column, symbol in zip(columns, symbols, strict=True):
            if symbol:
                assert (Element(symbol).row, Element(symbol).group) == (row, column)
    known = {symbol for symbols in MAIN_GROUP_TABLE for symbol in symbols if symbol}
    assert known == {
        e.symbol for e in Element if e.row <= 5 and e.group in columns and e.symbol not in "DT"
    }


def test_lone_atom_has_no_edges(rock_salt):
    record = rock_salt("Mg", "O", 40.0).to_dict()
    graph = crystal_graph(Crystal.from_dict(record))
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_attr.shape == (0, 51)


@pytest.mark.parametrize("element", ["Ti", "Cs", "Pb"])
def test_other_elements_are_refused_by_name(element, rock_salt):
    with pytest.raises(CrystalError, match=element) as error:
        node_features(rock_salt(element, "O"))
    assert "main-group" in error.value.fix


def test_shells_of_rock_salt(rock_salt):
    graph = crystal_graph(rock_salt("Mg", "O", 4.2))
    of_mg = graph.edge_index[1] == 0
    # To O: 6 at a/2, 8 at a sqrt(3)/2, 24 at a sqrt(5)/2; to Mg: 12 at a/sqrt(2), 6 at a.
    assert sorted(graph.edge_count[of_mg].tolist()) == [6, 6, 8, 12, 24]
    assert torch.allclose(graph.edge_direction, torch.tensor([1 / 3] * 3 + [0.0] * 3), atol=1e-6)
    assert float(graph.volume) == pytest.approx(4.2**3 / 4)


def test_directions_of_a_shell_are_those_of_its_images(wurtzite):
    graph = crystal_graph(wurtzite)
    centres, neighbours, distances = neighbour_list(wurtzite)
    frac, lattice = np.array(wurtzite.frac_coords), wurtzite.lattice
    # The one bond of Al along z, and the three in its plane below.
    pair = (graph.edge_index[1] == 0) & (graph.edge_index[0] == 2)
    first = int(torch.nonzero(pair)[0])
    bond = (frac[2] - frac[0]) @ lattice
    assert float(graph.edge_count[first]) == 1
    assert np.allclose(
        graph.edge_direction[first], (bond / np.linalg.norm(bond)) ** 2 @ np.eye(3, 6), atol=1e-5
    )
    assert np.allclose(graph.edge_direction[:, :3].sum(axis=1), 1.0, atol=1e-5)
    assert graph.edge_count.sum() == len(distances) == len(centres) == len(neighbours)


def test_graphs_together_are_those_of_each(rock_salt, wurtzite):
    lone = Crystal.from_dict(rock_salt("Mg", "O", 40.0).to_dict())
    crystals = [wurtzite, lone, rock_salt("Ca", "O"), wurtzite]
    together = crystal_graphs(crystals)
    for graph, crystal in zip(together, crystals, strict=True):
        alone = crystal_graph(crystal)
        assert sorted(graph.keys()) == sorted(alone.keys())
        assert all(torch.equal(graph[key], alone[key]) for key in alone.keys())  # noqa: SIM118  # not a dict
    packed = collate(together)
    assert packed.n_graphs == 4
    assert packed.batch.tolist() == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 4
    assert torch.equal(packed.edge_index[:, -1], together[-1].edge_index[:, -1] + 8)
    assert crystal_graphs([]) == []


def test_one_graph_alone_is_collated_without_touching_it(wurtzite):
    graph = crystal_graph(wurtzite)
    alone = collate([graph])
    alone.x = torch.zeros(1, 13)
    assert graph.x.shape == (4, 13)


def test_a_flat_cell_is_refused_before_its_images_fill_the_memory(rock_salt):
    flat = replace(rock_salt("Na", "F"), lattice_angstrom=((1e4, 0, 0), (0, 1e4, 0), (0, 0, 1e-7)))
    with pytest.raises(CrystalError, match="angstrom high"):
        crystal_graph(flat)
    assert visible([rock_salt("Mg", "O"), flat, rock_salt("Ti", "O"), rock_salt("Li", "F")]) == [0, 3]
