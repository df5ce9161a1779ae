"""Band structures made up for tests: silicon from an empirical pseudopotential, and numbers by chance."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from farm.bandstructure import BandStructure

SILICON_ANGSTROM = 5.43
# Rows: the reciprocal vectors of the primitive fcc cell, in 2 pi / a.
RECIPROCAL = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
CORNERS = {
    "GAMMA": (0.0, 0.0, 0.0),
    "X": (0.5, 0.0, 0.5),
    "U": (0.625, 0.25, 0.625),
    "K": (0.375, 0.375, 0.75),
    "L": (0.5, 0.5, 0.5),
    "W": (0.5, 0.25, 0.75),
}
SEGMENTS = (("GAMMA", "X"), ("X", "U"), ("K", "GAMMA"), ("GAMMA", "L"), ("L", "W"), ("W", "X"))

# V(G) of silicon by |G|^2 in (2 pi / a)^2, Rydberg (Cohen and Bergstresser, Phys. Rev. 141, 789 (1966)).
FORM_FACTORS_RY = {3: -0.21, 8: 0.04, 11: 0.08}
_RY_EV, _BOHR_ANGSTROM = 13.605693, 0.529177


@cache
def silicon_bands(n_bands: int = 10, points_a_segment: int = 16) -> BandStructure:
    """Silicon along seekpath's path of the fcc zone, with its jump from U to K."""
    labels, corners, kpoints, distances = fcc_path(points_a_segment)
    energies = np.array([_energies_ev(k @ RECIPROCAL)[:n_bands] for k in kpoints])
    return BandStructure(
        labels=labels,
        corners=corners,
        kpoints=kpoints,
        distances=distances,
        energies_ev=energies - energies[:, 3].max(),
        n_valence=4,
    )


def fcc_path(points_a_segment: int) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray, np.ndarray]:
    """Labels, corners, k-points in crystal coordinates and distances in 1/angstrom."""
    labels, corners, kpoints, distances, last = [], [], [], [], ""
    for name, next_name in SEGMENTS:
        start, end = np.array(CORNERS[name]), np.array(CORNERS[next_name])
        length = float(np.linalg.norm((end - start) @ RECIPROCAL)) * 2 * np.pi / SILICON_ANGSTROM
        travelled = distances[-1] if distances else 0.0
        if name != last:
            labels.append(name)
            corners.append(len(kpoints))
        for share in np.linspace(0, 1, points_a_segment)[int(name == last) :]:
            kpoints.append(start + share * (end - start))
            distances.append(travelled + share * length)
        labels.append(next_name)
        corners.append(len(kpoints) - 1)
        last = next_name
    return tuple(labels), tuple(corners), np.array(kpoints), np.array(distances)


def chance_bands(seed: int, n_points: int = 20, n_bands: int = 7) -> BandStructure:
    """Numbers by chance that float32 holds exactly, on a path with a jump in the middle."""
    chance = np.random.default_rng(seed)
    half = n_points // 2
    steps = np.full(n_points, 0.125)
    steps[[0, half]] = 0.0
    return BandStructure(
        labels=("GAMMA", "X", "SIGMA_0", "GAMMA"),
        corners=(0, half - 1, half, n_points - 1),
        kpoints=chance.integers(-8, 9, size=(n_points, 3)) / 16.0,
        distances=steps.cumsum(),
        energies_ev=np.sort(chance.integers(-4096, 4096, size=(n_points, n_bands)) / 256.0, axis=1),
        n_valence=n_bands // 2,
    )


def _energies_ev(k: np.ndarray) -> np.ndarray:
    """Eigenvalues at ``k`` (Cartesian, 2 pi / a), ascending."""
    vectors = np.array(list(product(range(-4, 5), repeat=3))) @ RECIPROCAL
    vectors = vectors[(vectors**2).sum(axis=1) < 21]
    difference = vectors[:, None] - vectors[None]
    squares = np.rint((difference**2).sum(axis=-1)).astype(int)
    potential = np.select([squares == g for g in FORM_FACTORS_RY], list(FORM_FACTORS_RY.values()), 0.0)
    # Two atoms at -+ a/8 (1, 1, 1).
    potential = potential * np.cos(np.pi / 4 * difference.sum(axis=-1))
    unit_ry = (2 * np.pi * _BOHR_ANGSTROM / SILICON_ANGSTROM) ** 2
    kinetic = np.diag(unit_ry * ((vectors + k) ** 2).sum(axis=1))
    return np.linalg.eigvalsh(potential + kinetic) * _RY_EV
