"""A crystal as the graph the network sees: the published OPTIMATE encoding.

Nodes are the sites of the primitive cell, edges all pairs within 5 angstrom, one edge for every
periodic image. Grunert, Grossmann, Runge, Phys. Rev. Materials 8, L122201 (2024).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Data

from farm.crystal import Crystal
from farm.errors import CrystalError

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
    symbol: (row, column)
    for row, symbols in enumerate(MAIN_GROUP_TABLE)
    for column, symbol in enumerate(symbols)
    if symbol
}

# Two sites of one distance must not fall on both sides of the cutoff by rounding.
_DISTANCE_TOLERANCE_ANGSTROM = 1e-8


def crystal_graph(crystal: Crystal) -> Data:
    """The graph of one crystal.

    ``x``          float32 ``(n_atoms, 13)``: one-hot column (8), then one-hot row (5)
    ``edge_index`` int64 ``(2, n_edges)``: neighbour, then the site that receives its message
    ``edge_attr``  float32 ``(n_edges, 51)``: :func:`distance_features`

    Raises CrystalError for elements outside the main groups of rows 1 to 5.
    """
    centres, neighbours, distances = neighbour_list(crystal)
    return Data(
        x=torch.from_numpy(node_features(crystal)),
        edge_index=torch.from_numpy(np.stack([neighbours, centres])),
        edge_attr=torch.from_numpy(distance_features(distances)),
    )


def node_features(crystal: Crystal) -> NDArray[np.float32]:
    """One-hot column and row of the periodic table, shape ``(n_atoms, 13)``."""
    unknown = sorted(crystal.elements - _PLACE.keys())
    if unknown:
        raise CrystalError(
            f"{crystal.material_id}: the model does not know {', '.join(unknown)}",
            fix="It covers the main-group elements of rows 1 to 5 (H to Xe without the d block)",
        )
    rows, columns = np.array([_PLACE[symbol] for symbol in crystal.species]).T
    sites = np.arange(crystal.n_atoms)
    features = np.zeros((crystal.n_atoms, N_NODE_FEATURES), dtype=np.float32)
    features[sites, columns] = 1.0
    features[sites, N_COLUMNS + rows] = 1.0
    return features


def neighbour_list(
    crystal: Crystal, cutoff_angstrom: float = CUTOFF_ANGSTROM
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every pair of a site and a periodic image of a site within the cutoff, itself excluded.

    Returns centres, neighbours (site indices) and distances in angstrom, each ``(n_edges,)``.
    """
    frac = np.asarray(crystal.frac_coords, dtype=np.float64) % 1.0
    # Height of the cell over each face: with coordinates in [0, 1) no image further away than
    # cutoff / height + 1 cells can reach in.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    reach = np.floor(cutoff_angstrom / heights + 1.0).astype(int)
    images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1)
    separation = frac[None, :, None, :] + images.reshape(1, 1, -1, 3) - frac[:, None, None, :]
    distances = np.linalg.norm(separation @ crystal.lattice, axis=-1)
    within = distances <= cutoff_angstrom + _DISTANCE_TOLERANCE_ANGSTROM
    within &= distances > _DISTANCE_TOLERANCE_ANGSTROM
    centres, neighbours, _ = np.nonzero(within)
    return centres.astype(np.int64), neighbours.astype(np.int64), distances[within]


def distance_features(distances: NDArray[np.float64]) -> NDArray[np.float32]:
    """sqrt(10/pi) exp(-10 (d - mu)^2) for mu = 0, 0.1, ... 5 angstrom, ``(n_edges, 51)``."""
    centres = np.linspace(0.0, CUTOFF_ANGSTROM, N_EDGE_FEATURES)
    offsets = np.asarray(distances)[:, None] - centres
    features = np.sqrt(GAUSSIAN_EXPONENT / np.pi) * np.exp(-GAUSSIAN_EXPONENT * offsets**2)
    return np.asarray(features, dtype=np.float32)
