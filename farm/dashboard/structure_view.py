"""A crystal for the page of a material: what its picture needs, its cell and sites, and its CIF."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np

from farm.crystal import Crystal

Vectors = tuple[tuple[float, float, float], ...]

# Of an element that no table knows.
_RADIUS_ANGSTROM = 1.5
_GREY = "#a0a0a0"
# The published colours are of bright screens on black; so much of them is replaced by their grey.
_DULLED = 0.15
# Of the search for the symmetry, angstrom; as that of the space group.
_SYMPREC = 0.01


@dataclass(frozen=True, kw_only=True)
class ElementLook:
    """How an element is drawn: covalent radius, colour, and whether it bonds to its like in a compound."""

    symbol: str
    radius_angstrom: float
    colour: str
    is_metal: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Lengths in angstrom, angles in degrees, volume in cubic angstrom."""

    a: float
    b: float
    c: float
    alpha: float
    beta: float
    gamma: float
    volume: float


def picture(crystal: Crystal) -> dict[str, Any]:
    """What structure.js draws: the cells by name, those known best first; lengths in angstrom."""
    looks = [element_look(symbol) for symbol in sorted(crystal.elements)]
    primitive = {"lattice": crystal.lattice.tolist(), "sites": _sites(crystal.species, crystal.frac_coords)}
    conventional = _conventional_cell(crystal.lattice_angstrom, crystal.species, crystal.frac_coords)
    return {
        "cells": ({"conventional": conventional} if conventional else {}) | {"primitive": primitive},
        "elements": {
            look.symbol: {"radius": look.radius_angstrom, "colour": look.colour, "metal": look.is_metal}
            for look in looks
        },
    }


@lru_cache(maxsize=1024)  # the search takes 20 ms, a third of the page
def _conventional_cell(lattice_angstrom: Vectors, species: tuple[str, ...], frac_coords: Vectors) -> Any:
    """The cell that shows the symmetry, turned as the computed one; None where that shows it already."""
    import spglib

    symbols = sorted(set(species))
    numbers = [symbols.index(symbol) + 1 for symbol in species]
    cell = (lattice_angstrom, frac_coords, numbers)
    found = spglib.standardize_cell(cell, to_primitive=False, no_idealize=True, symprec=_SYMPREC)
    if found is None or len(found[2]) == len(species):
        return None
    lattice, coordinates, kinds = (np.asarray(part).tolist() for part in found)
    return {"lattice": lattice, "sites": _sites([symbols[kind - 1] for kind in kinds], coordinates)}


def _sites(species: Sequence[str], coordinates: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    return [{"symbol": s, "at": list(at)} for s, at in zip(species, coordinates, strict=True)]


def cell_of(crystal: Crystal) -> Cell:
    """Lengths and angles of the cell."""
    lengths = np.linalg.norm(crystal.lattice, axis=1)

    def angle(i: int, j: int) -> float:
        cosine = float(crystal.lattice[i] @ crystal.lattice[j] / (lengths[i] * lengths[j]))
        return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))

    a, b, c = lengths.tolist()
    return Cell(
        a=a,
        b=b,
        c=c,
        alpha=angle(1, 2),
        beta=angle(0, 2),
        gamma=angle(0, 1),
        volume=crystal.volume_angstrom3,
    )


def warm_up() -> None:
    """Import and read what the first picture would wait for: half a second."""
    import spglib  # noqa: F401

    element_look("H")


@cache
def element_look(symbol: str) -> ElementLook:
    """Covalent radii of Cordero et al., Dalton Trans. 2832 (2008); colours of Jmol, a little dulled."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element

    colour = _colours().get(symbol)
    return ElementLook(
        symbol=symbol,
        radius_angstrom=float(CovalentRadius.radius.get(symbol, _RADIUS_ANGSTROM)),
        colour=_GREY if colour is None else _dulled(colour),
        is_metal=bool(Element(symbol).is_metal) if Element.is_valid_symbol(symbol) else False,
    )


def cif(crystal: Crystal) -> str:
    """The computed cell with all its sites, without symmetry: nothing is reduced or turned."""
    from pymatgen.io.cif import CifWriter

    text = str(CifWriter(crystal.to_structure(), significant_figures=10))
    return re.sub(r"(?m)^data_.*$", f"data_{crystal.material_id}", text, count=1)


@cache
def _colours() -> dict[str, list[int]]:
    from monty.serialization import loadfn

    colours: dict[str, list[int]] = loadfn(str(files("pymatgen.vis") / "ElementColorSchemes.yaml"))["Jmol"]
    return colours


def _dulled(colour: list[int]) -> str:
    grey = sum(colour) / 3
    return "#" + "".join(f"{round((1 - _DULLED) * part + _DULLED * grey):02x}" for part in colour)
