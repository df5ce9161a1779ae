"""The standard primitive cell of a space group: how it lies in the standard conventional one.

Conventions of spglib (Togo, Shinohara and Tanaka, Sci. Technol. Adv. Mater. Methods 4, 2384822 (2024)):
(a_p, b_p, c_p) = (a_s, b_s, c_s) P with one P for each kind of centring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Columns are the primitive vectors in units of the conventional ones; R in hexagonal axes, obverse.
_CENTRINGS: dict[str, FloatArray] = {
    "P": np.eye(3),
    "A": np.array([[2, 0, 0], [0, 1, -1], [0, 1, 1]]) / 2,
    "C": np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]) / 2,
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, -1, -1], [1, 1, -2], [1, 1, 1]]) / 3,
}


def centring(symbol: str) -> FloatArray:
    """P of a space group by its Hermann-Mauguin symbol, shape ``(3, 3)``."""
    return _CENTRINGS[symbol[0]]


def primitive_cell(dataset: Any) -> tuple[FloatArray, FloatArray, NDArray[np.int32]]:
    """The idealised standard primitive cell of what spglib found.

    ``dataset`` is of ``spglib.get_symmetry_dataset``. Returns lattice vectors as rows (angstrom), shape
    ``(3, 3)``, fractional positions, shape ``(n_atoms, 3)``, and the numbers of the elements: what
    ``spglib.standardize_cell`` would search the symmetry a second time for.
    """
    matrix = centring(dataset.international)
    # The first of the atoms that a centring translation makes equal.
    first = np.unique(dataset.std_mapping_to_primitive, return_index=True)[1]
    first.sort()
    positions = dataset.std_positions[first] @ np.linalg.inv(matrix).T
    return matrix.T @ dataset.std_lattice, positions, dataset.std_types[first]
