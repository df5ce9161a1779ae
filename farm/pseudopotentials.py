"""The SG15 v1.2 pseudopotentials (scalar-relativistic ONCV, PBE): what there is and where it lies.

Schlipf and Gygi, Comput. Phys. Commun. 196, 36 (2015). The table holds file names, SHA-256 sums and
valence charges, so that costs can be predicted and files checked without reading any UPF.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from farm.crystal import Crystal
from farm.errors import CrystalError

SET_NAME = "SG15-1.2-SR"
_TABLE_FILE = "sg15_v1.2.json"


@dataclass(frozen=True, kw_only=True)
class PseudoEntry:
    """One pseudopotential of the set.

    file:      name of the UPF file
    sha256:    of its bytes
    z_valence: electrons it leaves in the valence
    """

    file: str
    sha256: str
    z_valence: int


@cache
def table() -> Mapping[str, PseudoEntry]:
    """Element symbol -> entry, for every element of the set."""
    text = resources.files("farm").joinpath("data", _TABLE_FILE).read_text(encoding="utf-8")
    return {element: PseudoEntry(**entry) for element, entry in json.loads(text).items()}


def available_elements() -> frozenset[str]:
    """Elements that have a pseudopotential."""
    return frozenset(table())


def entry(element: str) -> PseudoEntry:
    """The entry of one element. Raises CrystalError where the set has none."""
    try:
        return table()[element]
    except KeyError:
        raise CrystalError(
            f"{element} has no pseudopotential in {SET_NAME}",
            fix="Leave structures with this element out",
        ) from None


def valence_electrons(element: str) -> int:
    """Valence electrons of one atom. Raises CrystalError where the set has none."""
    return entry(element).z_valence


def count_electrons(crystal: Crystal) -> int:
    """Valence electrons of the cell. Raises CrystalError for an element outside the set."""
    return sum(valence_electrons(element) for element in crystal.species)


def pseudopotential_directory() -> Path:
    """Where the UPF files lie: FARM_PSEUDO_DIR, else ``farm/pseudo`` in the user's data directory."""
    if chosen := os.environ.get("FARM_PSEUDO_DIR"):
        return Path(chosen)
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "farm" / "pseudo" / SET_NAME


def __getattr__(name: str) -> frozenset[str]:
    # AVAILABLE_ELEMENTS reads the table when first asked for: nothing is read at import.
    if name == "AVAILABLE_ELEMENTS":
        return available_elements()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
