"""The crystals that come with the farm, built from published lattice constants."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

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

    lattice = Lattice.from_parameters(**entry["cell"])
    species = [site["element"] for site in entry["sites"]]
    positions = [site["position"] for site in entry["sites"]]
    structure = Structure.from_spacegroup(entry["space_group"], lattice, species, positions)
    return admit(
        structure,
        source=f"bundled: {entry['source']}",
        material_id=material_id,
        properties={"name": entry["name"], "spg": entry["number"]},
    )
