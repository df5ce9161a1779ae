"""A crystal as the graph the network sees: the published OPTIMATE encoding, in shells.

Nodes are the sites of the cell, edges all pairs within 5 angstrom, one edge for every periodic image.
Grunert, Grossmann, Runge, Phys. Rev. Materials 8, L122201 (2024).

Images of one neighbour at one distance send the same message, so they are one edge here, a *shell*, that
says how many they are: attention counts it so often (:class:`trainer.networks.layers.ShellAttention`). The
result is that of the published graph; crystals of high symmetry have a quarter of its edges.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from farm.crystal import Crystal
from farm.errors import CrystalError

LOGGER = logging.getLogger(__name__)

CUTOFF_ANGSTROM = 5.0
N_EDGE_FEATURES = 51
# Of the Gaussians over the distance, exp(-10 d^2): in 1/angstrom^2.
GAUSSIAN_EXPONENT = 10.0

# Rows 1 to 5 by the main-group columns 1, 2, 13 to 18: where an element stands is its encoding.
MAIN_GROUP_TABLE = (
    ("H", "", "", "", "", "", "", "He"),
    ("Li", "Be", "B", "C", "N", "O", "F", "Ne"),
    ("Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar"),
    ("K", "Ca", "Ga", "Ge", "As", "Se", "Br", "Kr"),
    ("Rb", "Sr", "In", "Sn", "Sb", "Te", "I", "Xe"),
)
N_COLUMNS = len(MAIN_GROUP_TABLE[0])
N_NODE_FEATURES = N_COLUMNS + len(MAIN_GROUP_TABLE)
_PLACE = {
    symbol: (column, N_COLUMNS + row)
    for row, symbols in enumerate(MAIN_GROUP_TABLE)
    for column, symbol in enumerate(symbols)
    if symbol
}

_LEAST_HEIGHT_ANGSTROM = 0.05
# Two sites of one distance must not fall on both sides of the cutoff by rounding.
_DISTANCE_TOLERANCE_ANGSTROM = 1e-8
# Distances nearer than this are one shell at their mean: files round coordinates to as much. What the
# features lose is of second order, 10 (1e-4)^2.
_SHELL_TOLERANCE_ANGSTROM = 1e-4
# Of the symmetric matrix of a direction, the elements that are kept: xx, yy, zz, yz, xz, xy.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_FIRST, _SECOND = (np.array(axes) for axes in zip(*VOIGT, strict=True))
_GAUSSIAN_CENTRES = np.linspace(0.0, CUTOFF_ANGSTROM, N_EDGE_FEATURES)

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def crystal_graph(crystal: Crystal) -> Data:
    """The graph of one crystal.

    ``x``              float32 ``(n_atoms, 13)``: one-hot column (8), then one-hot row (5)
    ``edge_index``     int64 ``(2, n_shells)``: neighbour, then the site that receives its message
    ``edge_attr``      float32 ``(n_shells, 51)``: :func:`distance_features`
    ``edge_count``     float32 ``(n_shells,)``: images in the shell
    ``edge_direction`` float32 ``(n_shells, 6)``: mean of r r^T over the shell, r the unit vector to the
                       image; Cartesian xx, yy, zz, yz, xz, xy
    ``volume``         float32 ``(1,)``: of the cell, cubic angstrom

    Raises CrystalError for elements outside the main groups of rows 1 to 5.
    """
    check_crystal(crystal)
    graph = packed_graph([crystal])
    del graph.batch, graph.n_graphs
    return graph


def crystal_graphs(crystals: Sequence[Crystal]) -> list[Data]:
    """:func:`crystal_graph` of each, built together in a fraction of the time."""
    if not crystals:
        return []
    packed = packed_graph(crystals)
    n_atoms = [crystal.n_atoms for crystal in crystals]
    first_node = np.concatenate([[0], np.cumsum(n_atoms)])
    # Shells stand in the order of the sites that receive.
    first_edge = np.searchsorted(packed.edge_index[1].numpy(), first_node)
    per_edge = (packed.edge_index, packed.edge_attr, packed.edge_count, packed.edge_direction)
    sizes = np.diff(first_edge).tolist()
    index, *of_edges = (part.split(sizes, dim=-1 if n == 0 else 0) for n, part in enumerate(per_edge))
    return [
        Data(
            x=x,
            edge_index=i - int(start),
            edge_attr=a,
            edge_count=c,
            edge_direction=d,
            volume=v,
        )
        for x, i, a, c, d, v, start in zip(
            packed.x.split(n_atoms), index, *of_edges, packed.volume.split(1), first_node, strict=False
        )
    ]


def packed_graph(crystals: Sequence[Crystal]) -> Data:
    """The graphs of several crystals as one, as :func:`collate` would make it of them."""
    n_atoms = np.array([crystal.n_atoms for crystal in crystals])
    found = [_pairs_within(crystal, CUTOFF_ANGSTROM) for crystal in crystals]
    n_pairs = n_atoms * n_atoms
    first_pair = np.cumsum(n_pairs) - n_pairs
    pairs = np.concatenate([p + n for (p, _), n in zip(found, first_pair.tolist(), strict=True)])
    pair, distance, count, direction = _shells(pairs, np.concatenate([v for _, v in found]))
    owner = np.searchsorted(first_pair, pair, side="right") - 1
    centre, neighbour = np.divmod(pair - first_pair[owner], n_atoms[owner])
    first_node = (np.cumsum(n_atoms) - n_atoms)[owner]
    return Data(
        x=torch.from_numpy(np.concatenate([node_features(crystal) for crystal in crystals])),
        edge_index=torch.from_numpy(np.array([neighbour + first_node, centre + first_node])),
        edge_attr=torch.from_numpy(distance_features(distance)),
        edge_count=torch.from_numpy(count.astype(np.float32)),
        edge_direction=torch.from_numpy(direction.astype(np.float32)),
        volume=torch.tensor([crystal.volume_angstrom3 for crystal in crystals], dtype=torch.float32),
        batch=torch.from_numpy(np.repeat(np.arange(len(crystals)), n_atoms)),
        n_graphs=len(crystals),
    )


def collate(graphs: Sequence[Data]) -> Data:
    """Graphs side by side as one: their tensors one after the other, sites numbered through.

    ``batch`` is the graph of each node, int64 ``(n_nodes,)``, and ``n_graphs`` their number. One graph
    stays without them.
    """
    if len(graphs) == 1:
        # A copy of the shell: what moves it to a GPU leaves the original where it is.
        return copy.copy(graphs[0])
    n_nodes = torch.tensor([graph.x.shape[0] for graph in graphs])
    n_edges = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
    first = n_nodes.cumsum(0) - n_nodes

    def joined(name: str, dim: int = 0) -> Tensor:
        return torch.cat([graph[name] for graph in graphs], dim=dim)

    return Data(
        x=joined("x"),
        edge_index=joined("edge_index", 1) + first.repeat_interleave(n_edges),
        edge_attr=joined("edge_attr"),
        edge_count=joined("edge_count"),
        edge_direction=joined("edge_direction"),
        volume=joined("volume"),
        batch=torch.arange(len(graphs)).repeat_interleave(n_nodes),
        n_graphs=len(graphs),
    )


def visible(crystals: Sequence[Crystal]) -> list[int]:
    """The indices of those that have a graph: known elements, and a cell that is one."""
    seen = []
    for n, crystal in enumerate(crystals):
        try:
            check_crystal(crystal)
        except CrystalError as error:
            LOGGER.debug("not seen: %s", error)
        else:
            seen.append(n)
    return seen


def check_crystal(crystal: Crystal) -> None:
    """Raise CrystalError for elements that the encoding does not cover, and for a cell that is too flat."""
    check_elements(crystal)
    height = 1.0 / _inverse_heights(crystal.lattice).max()
    # The search for neighbours goes through 5 angstrom of images: of such a cell they fill the memory.
    if height < _LEAST_HEIGHT_ANGSTROM:
        raise CrystalError(f"{crystal.material_id}: the cell is {height:.1e} angstrom high")


def _inverse_heights(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """One over the height of the cell over each face, ``(3,)``, 1/angstrom."""
    return np.asarray(np.sqrt((np.linalg.inv(lattice) ** 2).sum(axis=0)), dtype=np.float64)


def check_elements(crystal: Crystal) -> None:
    """Raise CrystalError naming the elements that the encoding does not cover."""
    if unknown := sorted(crystal.elements - _PLACE.keys()):
        raise CrystalError(
            f"{crystal.material_id}: the model does not know {', '.join(unknown)}",
            fix="It covers the main-group elements of rows 1 to 5 (H to Xe without the d block)",
        )


def node_features(crystal: Crystal) -> NDArray[np.float32]:
    """One-hot column and row of the periodic table, shape ``(n_atoms, 13)``."""
    check_elements(crystal)
    features = np.zeros((crystal.n_atoms, N_NODE_FEATURES), dtype=np.float32)
    for site, symbol in enumerate(crystal.species):
        features[site, _PLACE[symbol]] = 1.0
    return features


def neighbour_list(crystal: Crystal, cutoff_angstrom: float = CUTOFF_ANGSTROM) -> Edges:
    """Every pair of a site and a periodic image of a site within the cutoff, itself excluded.

    Returns centres, neighbours (site indices) and distances in angstrom, each ``(n_pairs,)``.
    """
    pairs, vectors = _pairs_within(crystal, cutoff_angstrom)
    centres, neighbours = np.divmod(pairs, crystal.n_atoms)
    return centres, neighbours, np.linalg.norm(vectors, axis=1)


def _pairs_within(
    crystal: Crystal, cutoff_angstrom: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs ``centre * n_atoms + neighbour``, ascending, and their vectors, ``(n, 3)``, angstrom."""
    lattice = crystal.lattice
    frac = np.array(crystal.frac_coords)
    apart = (frac[None, :] - frac[:, None]).reshape(-1, 3)
    # To the nearest image along each cell vector: no image further than cutoff / height + 1/2 cells is
    # within reach then, the height of the cell over each face.
    apart -= np.rint(apart)
    inverse_heights = _inverse_heights(lattice)
    reach = tuple((cutoff_angstrom * inverse_heights + 0.5 + 1e-9).astype(int).tolist())
    sites, images = apart @ lattice, _images(reach) @ lattice
    square = (sites * sites).sum(axis=1)[:, None] + (images * images).sum(axis=1) + 2.0 * sites @ images.T
    near = (cutoff_angstrom + _DISTANCE_TOLERANCE_ANGSTROM) ** 2
    # 1e-8: what rounding leaves of a site's distance to itself is a millionth of that.
    pairs, cells = np.nonzero((square <= near) & (square > 1e-8))
    return pairs, sites[pairs] + images[cells]


@lru_cache(maxsize=512)
def _images(reach: tuple[int, int, int]) -> NDArray[np.float64]:
    grids = np.meshgrid(*(np.arange(-n, n + 1.0) for n in reach), indexing="ij")
    return np.stack(grids, axis=-1).reshape(-1, 3)


def _shells(pairs: NDArray[np.int64], vectors: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
    """Pairs of the same sites and distance as one: pair, distance, count, direction."""
    distances = np.sqrt((vectors * vectors).sum(axis=1))
    # No distance is as large as the step between pairs, so one key sorts by both.
    order = np.argsort(pairs * (2.0 * CUTOFF_ANGSTROM) + distances, kind="stable")
    pairs, distances = pairs[order], distances[order]
    unit = vectors[order] / distances[:, None]
    products = unit[:, _FIRST] * unit[:, _SECOND]
    starts = np.empty(order.size, dtype=bool)
    starts[:1] = True
    np.not_equal(pairs[1:], pairs[:-1], out=starts[1:])
    starts[1:] |= distances[1:] - distances[:-1] > _SHELL_TOLERANCE_ANGSTROM
    first = np.flatnonzero(starts)
    count = np.diff(first, append=order.size)
    if first.size == 0:
        return pairs, distances, count, products
    distance = np.add.reduceat(distances, first) / count
    direction = np.add.reduceat(products, first, axis=0) / count[:, None]
    return pairs[first], distance, count, direction


def distance_features(distances: NDArray[np.float64]) -> NDArray[np.float32]:
    """sqrt(10/pi) exp(-10 (d - mu)^2) for mu = 0, 0.1, ... 5 angstrom, ``(n_edges, 51)``."""
    offsets = np.asarray(distances)[:, None] - _GAUSSIAN_CENTRES
    features = np.sqrt(GAUSSIAN_EXPONENT / np.pi) * np.exp(-GAUSSIAN_EXPONENT * offsets * offsets)
    return np.asarray(features, dtype=np.float32)
