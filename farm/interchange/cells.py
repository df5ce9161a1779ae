"""Entry -> crystal, its cell as it stands in the file, for the spectra are along its axes; and back."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from farm.crystal import MATERIAL_ID, Crystal, crystal_from_structure, crystal_of_cell
from farm.errors import CrystalError, InputError
from farm.interchange import fields
from farm.spectrum import FloatArray

_ID_FIELDS = ("data.mat_id", "data.material_id", "entry_id")
_CORRECT_SITES = "Correct the cell and its sites"


def material_id_of(entry: Mapping[str, Any]) -> str:
    """The id that an entry gives its material. Raises InputError where it has none that can be used."""
    data = fields.mapping(entry.get("data"), "data")
    for field in _ID_FIELDS:
        value = (data if field.startswith("data.") else entry).get(field.removeprefix("data."))
        if value in (None, ""):
            continue
        if isinstance(value, str) and MATERIAL_ID.fullmatch(value):
            return value
        raise InputError(
            f"field {field}: {value!r:.80} is no usable id",
            fix="Use 1 to 64 letters, digits, '_', '-' or '+'",
        )
    raise fields.missing(_ID_FIELDS[0])


def crystal_of(entry: Mapping[str, Any], material_id: str, source: str) -> Crystal:
    """The crystal of an entry, neither reduced nor turned; its properties are the scalars of ``data``.

    Raises InputError naming the field, and CrystalError for a cell that is none.
    """
    structure = fields.mapping(entry.get("structure"), "structure")
    lattice = _lattice(structure)
    numbers, positions = _sites(structure)
    data = fields.mapping(entry.get("data"), "data")
    n_sites = data.get("nsites")
    if n_sites is not None and fields.whole_number(n_sites, "data.nsites") != len(numbers):
        raise InputError(
            f"field data.nsites is {n_sites}, and structure has {len(numbers)} sites", fix=_CORRECT_SITES
        )
    crystal = crystal_of_cell(lattice, positions, numbers, material_id=material_id, source=source)
    if crystal is None:
        crystal = _looked_at_closely(lattice, positions, numbers, material_id, source)
    return replace(crystal, properties=_scalars(data))


def structure_of(crystal: Crystal) -> dict[str, Any]:
    """A crystal as the dictionary of pymatgen's Structure."""
    lattice = crystal.lattice
    lengths = [float(x) for x in np.linalg.norm(lattice, axis=1)]
    cosines = [lattice[i] @ lattice[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))]
    angles = [float(x) for x in np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))]
    positions = np.array(crystal.frac_coords) @ lattice
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0.0,
        "lattice": {
            "matrix": [list(row) for row in crystal.lattice_angstrom],
            "pbc": [True, True, True],
            **dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), (*lengths, *angles), strict=True)),
            "volume": crystal.volume_angstrom3,
        },
        "properties": {},
        "sites": [
            {
                "species": [{"element": symbol, "occu": 1}],
                "abc": list(abc),
                "properties": {},
                "label": symbol,
                "xyz": xyz,
            }
            for symbol, abc, xyz in zip(
                crystal.species, crystal.frac_coords, positions.tolist(), strict=True
            )
        ],
    }


def _lattice(structure: Mapping[str, Any]) -> FloatArray:
    field = "structure.lattice.matrix"
    rows = fields.mapping(structure.get("lattice"), "structure.lattice").get("matrix")
    return np.array(
        [[fields.number(x, field) for x in fields.three(row, field)] for row in fields.three(rows, field)]
    )


def _sites(structure: Mapping[str, Any]) -> tuple[list[int], FloatArray]:
    """Atomic numbers and fractional coordinates, shape ``(n_sites, 3)``."""
    sites = structure.get("sites")
    if not isinstance(sites, list) or not sites:
        raise fields.missing("structure.sites")
    numbers, positions = [], []
    for i, site in enumerate(sites):
        field = f"structure.sites[{i}]"
        site = fields.mapping(site, field)
        numbers.append(_atomic_number(site.get("species"), f"{field}.species"))
        place = f"{field}.abc"
        positions.append([fields.number(x, place) for x in fields.three(site.get("abc"), place)])
    return numbers, np.array(positions)


def _atomic_number(species: Any, field: str) -> int:
    if not isinstance(species, list) or not species:
        raise fields.missing(field)
    occupant = fields.mapping(species[0], field)
    if len(species) > 1 or fields.number(occupant.get("occu", 1), f"{field}.occu") != 1:
        raise InputError(f"field {field} is partially occupied", fix="Give an ordered cell")
    symbol = occupant.get("element")
    number = _number_of(symbol) if isinstance(symbol, str) else None
    if number is None:
        raise InputError(f"field {field}: {symbol!r:.20} is no element", fix="Use symbols of elements")
    return number


@cache
def _number_of(symbol: str) -> int | None:
    from pymatgen.core import Element

    return int(Element(symbol).Z) if Element.is_valid_symbol(symbol) else None


def _looked_at_closely(
    lattice: FloatArray,
    positions: FloatArray,
    numbers: list[int],
    material_id: str,
    source: str,
) -> Crystal:
    """The same where soundness cannot be told at once: what refuses to be reduced says why."""
    from pymatgen.core import Element, Lattice, Structure

    symbols = [Element.from_Z(number).symbol for number in numbers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spglib about its errors, of pymatgen about noble gases
        cell = Structure(Lattice(lattice), symbols, positions)
        try:
            reduced = crystal_from_structure(cell, material_id=material_id)
        except CrystalError as error:
            reason = error.message.removeprefix(f"{material_id}: ")
            raise CrystalError(f"field structure: {reason}", fix=error.fix or _CORRECT_SITES) from error
    rank = {symbol: i for i, symbol in enumerate(dict.fromkeys(reduced.species))}
    order = sorted(range(len(symbols)), key=lambda i: rank[symbols[i]])
    record = {
        "material_id": material_id,
        "lattice_angstrom": lattice.tolist(),
        "species": [symbols[i] for i in order],
        "frac_coords": (positions[order] % 1.0).tolist(),
        "source": source,
    }
    return Crystal.from_dict(record)


def _scalars(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in data.items()
        if isinstance(value, str | int | bool) or (isinstance(value, float) and math.isfinite(value))
    }
