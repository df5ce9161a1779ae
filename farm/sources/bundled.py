"""The crystals that come with the farm, built from published lattice constants."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.sources.admission import admit
from farm.sources.items import Rejected

FILE_NAME = "crystals.toml"


def bundled_crystals() -> Iterator[Crystal | Rejected]:
    """Each crystal of ``farm/data/crystals.toml`` as its primitive cell, in the order of the file."""
    text = resources.files("farm").joinpath("data", FILE_NAME).read_text(encoding="utf-8")
    for material_id, entry in tomllib.loads(text).items():
        yield _build(material_id, entry)


def _build(material_id: str, entry: dict[str, Any]) -> Crystal | Rejected:
    from pymatgen.core import Lattice, Structure

    operations = _operations(entry["number"])
    species: list[str] = []
    positions: list[NDArray[np.float64]] = []
    for site in entry["sites"]:
        orbit = _orbit(np.array(site["position"]), operations)
        species += [site["element"]] * len(orbit)
        positions += orbit
    structure = Structure(Lattice.from_parameters(**entry["cell"]), species, positions)
    return admit(
        structure,
        source=f"bundled: {entry['source']}",
        material_id=material_id,
        properties={"name": entry["name"], "spg": entry["number"]},
    )


@cache
def _operations(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotations ``(n, 3, 3)`` and translations ``(n, 3)`` of a space group.

    In the first setting of spglib's list: unique axis b, origin choice 1, hexagonal axes. A thousand
    times faster than generating the group.
    """
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # announces a change at every call
        settings: Iterator[tuple[int, Any]] = (
            (hall, spglib.get_spacegroup_type(hall)) for hall in range(1, 531)
        )
        hall_number = next(hall for hall, setting in settings if setting.number == number)
        operations: Any = spglib.get_symmetry_from_database(hall_number)
    return operations["rotations"].astype(np.float64), operations["translations"].astype(np.float64)


def _orbit(
    position: NDArray[np.float64], operations: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """The distinct positions equivalent to one, modulo the cell."""
    rotations, translations = operations
    orbit: list[NDArray[np.float64]] = []
    for image in rotations @ position + translations:
        distances = [image - other - np.rint(image - other) for other in orbit]
        if not any(np.abs(distance).max() < 1e-4 for distance in distances):
            orbit.append(image)
    return orbit
