"""A result of a farm as an entry in the published form, and back; pure.

What the published form has no place for stands in ``data.farm``: the engine, the whole protocol, the
outcome, costs and corrections. So the result comes back from the entry as it was, but for its band
structure and the ladder between its ends.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack
import numpy as np

from farm.crystal import Crystal
from farm.errors import CrystalError, InputError
from farm.interchange import fields
from farm.interchange.cells import structure_of
from farm.interchange.decimals import Float32Array, as_float32, shortest
from farm.interchange.directions import KEYS, filling, told
from farm.interchange.published_entry import FORMAT as PUBLISHED
from farm.interchange.rung_spectra import field_names, read_rung
from farm.interchange.space_groups import number_of
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.rung import Rung

BLOCK = "farm"
# What a cell is measured with overflows far above.
_LARGEST_ANGSTROM = 1e6
_GET_AGAIN = "Export it again"

# What the entry says elsewhere, and what it leaves out.
_NOT_IN_BLOCK = ("crystal", "ladder", "band_structure")
# Of the block, what has to be there and of which kind for the store to take it.
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "protocol": dict,
    "protocol_hash": str,
    "reason": str,
    "diagnosis": str,
    "advice": str,
    "space_group": str,
    "gmax_converged_mry": list,
    "gap_indirect_ev": (float, int, type(None)),
    "gap_direct_ev": (float, int, type(None)),
    "parameters": dict,
    "programs": dict,
    "origin": dict,
    "source": str,
    "properties": dict,
    "ladder": list,
    "stages": list,
}
_STAGE_NUMBERS = ("cpu_s", "wall_s", "peak_memory_mb")


def own_entry_of(result: Result) -> dict[str, Any]:
    """The entry of a result; spectra as float32 arrays, directions that follow from others left out."""
    crystal = result.crystal
    ends = {Rung.IPA: result.ladder[:1], Rung.RPA: result.ladder[1:][-1:]}
    spectra = {rung: _arrays(steps[0]) for rung, steps in ends.items() if steps}
    directions = told(np.concatenate(list(spectra.values())), crystal) if spectra else []
    data: dict[str, Any] = dict(crystal.properties) | {
        "mat_id": crystal.material_id,
        "formula": crystal.formula,
        "elements": sorted(crystal.elements),
        "spg": number_of(result.space_group),
        "nsites": crystal.n_atoms,
    }
    for rung, eps in spectra.items():
        for name, part in zip(field_names(rung), eps, strict=True):
            data[name] = {KEYS[d]: shortest(part[d]) for d in directions}
    last = result.ladder[-1] if len(result.ladder) > 1 else None
    similarity = last.step_similarity if last and last.step_similarity else (0.0, 0.0, 0.0)
    if last is not None:
        data["rpa_similarity"] = [similarity[d] if d in directions else 0.0 for d in range(3)]
    data |= {"ipa_indirect_gap": result.gap_indirect_ev, "ipa_direct_gap": result.gap_direct_ev}
    data[BLOCK] = _block(result)
    return {
        "@module": "pymatgen.core.entries",
        "@class": "ComputedStructureEntry",
        "energy": crystal.properties.get("energy_total"),
        "composition": {symbol: float(n) for symbol, n in Counter(crystal.species).items()},
        "entry_id": crystal.material_id,
        "correction": 0.0,
        "energy_adjustments": [],
        "parameters": _parameters(result, last, directions),
        "data": data,
        "structure": structure_of(crystal),
    }


def is_own(data: Mapping[str, Any]) -> bool:
    """Whether an entry's ``data`` is of a result of a farm."""
    return isinstance(data.get(BLOCK), dict)


def result_of_own(entry: Mapping[str, Any], material_id: str) -> Result:
    """The inverse of :func:`own_entry_of`. Raises InputError naming a field that is not as it wrote it."""
    data = fields.mapping(entry.get("data"), "data")
    block = _checked(fields.mapping(data.get(BLOCK), f"data.{BLOCK}"))
    crystal = _crystal(entry, block, material_id)
    n_energies = fields.whole_number(block["protocol"].get("n_energies"), "data.farm.protocol.n_energies")
    ladder = []
    for rung, step in zip(Rung, block["ladder"], strict=False):
        given = read_rung(data, rung, n_energies)
        if given is None:
            raise fields.missing(f"data.{field_names(rung)[1]}")
        eps = given.filled(filling(given.keys, crystal, f"data.{field_names(rung)[1]}"))
        ladder.append(step | {"eps": as_float32(np.stack([eps.real, eps.imag])).astype("<f4").tobytes()})
    record = {key: value for key, value in block.items() if key not in ("source", "properties")}
    return Result.unpack(
        msgpack.packb(record | {"crystal": crystal.to_dict(), "ladder": ladder, "band_structure": None})
    )


def _arrays(step: LadderStep) -> Float32Array:
    """Real and imaginary part, shape ``(2, 3, n_energies)``."""
    return as_float32(np.stack([step.eps.real, step.eps.imag]))


def _block(result: Result) -> dict[str, Any]:
    record: dict[str, Any] = msgpack.unpackb(result.pack())
    steps = record["ladder"]
    ends = [steps[0], steps[-1]] if len(steps) > 1 else steps
    block = {key: value for key, value in record.items() if key not in _NOT_IN_BLOCK}
    return block | {
        "source": result.crystal.source,
        "properties": dict(result.crystal.properties),
        "ladder": [{key: value for key, value in step.items() if key != "eps"} for step in ends],
    }


def _checked(block: Mapping[str, Any]) -> dict[str, Any]:
    for name, kind in _KINDS.items():
        if name not in block:
            raise InputError(f"field data.{BLOCK}.{name} is missing", fix=_GET_AGAIN)
        if not isinstance(block[name], kind):
            raise InputError(f"field data.{BLOCK}.{name} is of another kind", fix=_GET_AGAIN)
    if block["origin"].get("format") == PUBLISHED:  # such a result is exported as it came
        raise InputError(f"field data.{BLOCK}.origin is of an entry that is none of a farm", fix=_GET_AGAIN)
    _check_numbers(block)
    text = json.dumps(block["protocol"], sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != block["protocol_hash"]:
        raise InputError(
            f"field data.{BLOCK}.protocol_hash is not that of data.{BLOCK}.protocol", fix=_GET_AGAIN
        )
    Protocol.from_dict(block["protocol"], origin=f"field data.{BLOCK}.protocol")  # within its bounds
    return dict(block)


def _check_numbers(block: Mapping[str, Any]) -> None:
    for i, step in enumerate(block["ladder"]):
        field = f"data.{BLOCK}.ladder[{i}]"
        for name in ("gmax_mry", "n_g"):
            fields.whole_number(fields.mapping(step, field).get(name), f"{field}.{name}")
        if step.get("step_similarity") is not None:
            for value in fields.three(step["step_similarity"], f"{field}.step_similarity"):
                fields.number(value, f"{field}.step_similarity")
    for i, stage in enumerate(block["stages"]):
        field = f"data.{BLOCK}.stages[{i}]"
        for name in _STAGE_NUMBERS:
            fields.number(fields.mapping(stage, field).get(name), f"{field}.{name}")
    for gmax in fields.three(block["gmax_converged_mry"], f"data.{BLOCK}.gmax_converged_mry"):
        if gmax is not None:
            fields.whole_number(gmax, f"data.{BLOCK}.gmax_converged_mry")


def _crystal(entry: Mapping[str, Any], block: Mapping[str, Any], material_id: str) -> Crystal:
    structure = fields.mapping(entry.get("structure"), "structure")
    try:
        sites, matrix = structure["sites"], structure["lattice"]["matrix"]
        if any(abs(x) >= _LARGEST_ANGSTROM for row in matrix for x in row):
            raise InputError("field structure.lattice.matrix: not the lengths of a cell", fix=_GET_AGAIN)
        return Crystal.from_dict(
            {
                "material_id": material_id,
                "lattice_angstrom": matrix,
                "species": [site["species"][0]["element"] for site in sites],
                "frac_coords": [site["abc"] for site in sites],
                "source": block["source"],
                "properties": block["properties"],
            }
        )
    except CrystalError as error:
        raise CrystalError(f"field structure: {error.message}", fix=_GET_AGAIN) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"field structure: {error!r}", fix=_GET_AGAIN) from error


def _parameters(result: Result, last: LadderStep | None, directions: Sequence[int]) -> dict[str, Any]:
    """The published names, as far as the result says."""
    cutoffs = [0, 0, 0]
    if last is not None:
        for d in directions:
            converged = result.gmax_converged_mry[d]
            cutoffs[d] = last.gmax_mry if converged is None else converged
    parameters = {"rpa_G": cutoffs, "rpa_broad": result.protocol.get("damping_ev")}
    n_kpoints = result.parameters.get("n_kpoints_full")
    if isinstance(n_kpoints, int):
        parameters["rpa_kppa"] = n_kpoints * result.crystal.n_atoms
    return parameters
