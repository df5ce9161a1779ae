"""Small crystals of low symmetry: triclinic, monoclinic, rhombohedral, and one with f projectors.

Internal coordinates are made up where nothing but the space group matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from decks import SHIFT, Deck, fcc, full_stars
from scipy.spatial.transform import Rotation

from farm.crystal import Crystal
from farm.kpoints import FloatArray, shifted_grid

Site = tuple[str, tuple[float, float, float]]


def crystal(name: str, lattice: FloatArray, atoms: Sequence[Site]) -> Crystal:
    """A crystal of rows ``lattice`` in angstrom and fractional sites."""
    rows = tuple((float(a), float(b), float(c)) for a, b, c in lattice)
    folded = tuple((x % 1, y % 1, z % 1) for _, (x, y, z) in atoms)
    return Crystal(name, rows, tuple(symbol for symbol, _ in atoms), folded)


def sites(of: Crystal) -> list[Site]:
    """Its species and positions."""
    return list(zip(of.species, of.frac_coords, strict=True))


def turned(original: Crystal, rotation: Rotation) -> Crystal:
    """The crystal in a rotated frame."""
    return replace(original, lattice_angstrom=tuple(map(tuple, rotation.apply(original.lattice))))


def moved(original: Crystal, shift: tuple[float, float, float]) -> Crystal:
    """Every atom shifted by the same fractional vector."""
    there = [(s, tuple(np.add(x, shift))) for s, x in sites(original)]
    return crystal(original.material_id, original.lattice, there)


def doubled(original: Crystal) -> Crystal:
    """The supercell with twice the first cell vector."""
    both = [(s, ((x + copy) / 2, y, z)) for s, (x, y, z) in sites(original) for copy in (0, 1)]
    return crystal(original.material_id, original.lattice * [[2], [1], [1]], both)


def monoclinic(a: float, b: float, c: float, beta: float) -> FloatArray:
    """Rows of the cell with b along y and a along x; beta in degrees."""
    angle = np.deg2rad(beta)
    return np.array([[a, 0, 0], [0, b, 0], [c * np.cos(angle), 0, c * np.sin(angle)]])


def boron_nitride_triclinic() -> Crystal:
    """Zincblende BN strained in every component: P1, no operation but the identity."""
    zincblende = fcc(3.615, ("B", "N"))
    strain = np.array([[1.03, 0.04, -0.03], [0.0, 0.96, 0.05], [0.0, 0.0, 1.02]])
    atoms = [("B", (0.0, 0.0, 0.0)), ("N", (0.27, 0.24, 0.26))]
    return crystal("BN", zincblende.lattice @ strain, atoms)


def hydrogen_fluoride() -> Crystal:
    """Zigzag chains of HF along b, P2_1: a screw axis and no inversion."""
    general = (("F", (0.18, 0.0, 0.03)), ("H", (0.05, 0.186, 0.02)))
    atoms = [(s, x) for s, (u, v, w) in general for x in ((u, v, w), (-u, v + 0.5, -w))]
    return crystal("HF", monoclinic(3.4, 4.33, 3.5, 101.0), atoms)


def lithium_fluoride_glide() -> Crystal:
    """Distorted rock salt with nothing but an n glide plane left: Pn, a setting of Pc."""
    general = (("Li", (0.0, 0.25, 0.0)), ("F", (0.53, 0.77, 0.02)))
    atoms = [(s, x) for s, (u, v, w) in general for x in ((u, v, w), (u + 0.5, -v, w + 0.5))]
    return crystal("LiF", monoclinic(2.80, 2.95, 4.05, 96.0), atoms)


def lithium_hydride_monoclinic() -> Crystal:
    """Eight atoms in general positions of P2_1/c."""
    general = (("Li", (0.24, 0.02, 0.27)), ("H", (0.23, 0.49, 0.21)))
    atoms = [
        (s, x)
        for s, (u, v, w) in general
        for x in ((u, v, w), (-u, v + 0.5, 0.5 - w), (-u, -v, -w), (u, 0.5 - v, w + 0.5))
    ]
    return crystal("LiH", monoclinic(4.1, 4.0, 4.3, 98.0), atoms)


def boron_nitride_rhombohedral() -> Crystal:
    """Layers of BN stacked ABC, R3m, three-fold axis along z."""
    a, c = 2.504, 9.99
    lattice = np.array([[a / 2, a / 12**0.5, c / 3], [-a / 2, a / 12**0.5, c / 3], [0, -a / 3**0.5, c / 3]])
    return crystal("rBN", lattice, [("B", (0.0, 0.0, 0.0)), ("N", (1 / 3, 1 / 3, 1 / 3))])


def lithium_fluoride_stretched() -> Crystal:
    """Rock salt stretched along [111], R-3m, that axis tilted against x, y and z alike."""
    axis = np.ones(3) / 3**0.5
    stretch = np.eye(3) + 0.08 * np.outer(axis, axis)
    return crystal(
        "LiF", fcc(4.0, ("Li", "F")).lattice @ stretch, [("Li", (0, 0, 0)), ("F", (0.5, 0.5, 0.5))]
    )


def barium_sulfide() -> Crystal:
    """Rock salt sheared, P-1; Ba of SG15 v1.2 has s, p, d and f projectors."""
    shear = np.array([[1.02, 0.03, 0.05], [0.0, 0.97, 0.04], [0.0, 0.0, 1.01]])
    return crystal(
        "BaS", fcc(6.39, ("Ba", "S")).lattice @ shear, [("Ba", (0, 0, 0)), ("S", (0.5, 0.5, 0.5))]
    )


def on_stars(
    of: Crystal, kpoints: FloatArray, n_bands: int, cutoff_ry: float, scf_grid: tuple[int, int, int]
) -> Deck:
    """All members of the stars: the response folds them, the defining sums run over all of them."""
    stars = full_stars(of, kpoints)
    return Deck(
        crystal=of,
        kpoints=stars,
        weights=[1.0] * len(stars),
        n_bands=n_bands,
        scf_grid=scf_grid,
        cutoff_ry=cutoff_ry,
    )


ONE_POINT = np.array([[0.11, 0.23, 0.37]])
TWO_POINTS = shifted_grid((2, 1, 1), SHIFT)
GRID = (2, 2, 2)

# Space group -> deck on whole stars, and the irreducible points it was made of.
LOW_SYMMETRY = {
    "P1": (on_stars(boron_nitride_triclinic(), TWO_POINTS, 12, 24, GRID), TWO_POINTS),
    "P2_1": (on_stars(hydrogen_fluoride(), TWO_POINTS, 18, 24, GRID), TWO_POINTS),
    "Pc": (on_stars(lithium_fluoride_glide(), ONE_POINT, 18, 24, GRID), ONE_POINT),
    "P2_1/c": (on_stars(lithium_hydride_monoclinic(), ONE_POINT, 20, 16, GRID), ONE_POINT),
    "R3m": (on_stars(boron_nitride_rhombohedral(), ONE_POINT, 12, 24, GRID), ONE_POINT),
    "R-3m": (on_stars(lithium_fluoride_stretched(), ONE_POINT, 12, 24, GRID), ONE_POINT),
    "P-1": (on_stars(barium_sulfide(), ONE_POINT, 14, 24, (1, 1, 1)), ONE_POINT),
}
