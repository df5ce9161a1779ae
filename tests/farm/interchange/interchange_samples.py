"""Entries as the published RPA database has them, made up; imported by the tests beside it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farm.interchange.published_entry import result_of_published
from farm.interchange.terms import Terms
from farm.job import Engine, Outcome, Stage
from farm.protocol import PRESETS, Protocol
from farm.result import Correction, LadderStep, Result, StageUsage

# Small, so that hundreds of entries are read in a second.
PROTOCOL = Protocol.from_dict({**PRESETS["paper"].to_dict(), "n_energies": 101})
TERMS = Terms.of(PROTOCOL)

_A = 4.2
# lattice, sites, the directions that such files give, space group
CELLS: dict[str, tuple[list[list[float]], list[tuple[str, list[float]]], tuple[str, ...], int]] = {
    "cubic": (
        [[0.0, _A / 2, _A / 2], [_A / 2, 0.0, _A / 2], [_A / 2, _A / 2, 0.0]],
        [("O", [0.5, 0.5, 0.5]), ("Mg", [0.0, 0.0, 0.0])],
        ("xx",),
        225,
    ),
    "tetragonal": (
        [[3.9, 0.0, 0.0], [0.0, 3.9, 0.0], [0.0, 0.0, 5.1]],
        [("Na", [0.0, 0.0, 0.0]), ("Cl", [0.5, 0.5, 0.5])],
        ("xx", "zz"),
        123,
    ),
    "tetragonal along x": (
        [[5.1, 0.0, 0.0], [0.0, 3.9, 0.0], [0.0, 0.0, 3.9]],
        [("Na", [0.0, 0.0, 0.0]), ("Cl", [0.5, 0.5, 0.5])],
        ("xx", "zz"),
        123,
    ),
    "hexagonal": (
        [[1.5, -1.5 * math.sqrt(3), 0.0], [1.5, 1.5 * math.sqrt(3), 0.0], [0.0, 0.0, 5.0]],
        [("B", [1 / 3, 2 / 3, 0.0]), ("N", [2 / 3, 1 / 3, 0.0])],
        ("xx", "zz"),
        187,
    ),
    "orthorhombic": (
        [[3.7, 0.0, 0.0], [0.0, 4.1, 0.0], [0.0, 0.0, 5.3]],
        [("Li", [0.0, 0.0, 0.0]), ("F", [0.5, 0.5, 0.5])],
        ("xx", "yy", "zz"),
        47,
    ),
}

# Directions that are equal in a cell: which is a copy of which.
CELLS_FILLED = {
    "cubic": ((0, 1), (0, 2)),
    "tetragonal": ((0, 1),),
    "tetragonal along x": ((1, 2),),
    "hexagonal": ((0, 1),),
}


def six_digits(values: np.ndarray) -> list[float]:
    """As yambo prints numbers."""
    return [float(f"{value:.6g}") for value in values]


def spectra(number: int, n_energies: int = 101) -> tuple[list[float], list[float]]:
    """Real and imaginary part of one oscillator, which follows from the number."""
    energies = np.linspace(0.0, 20.0, n_energies)
    eps = 1 + (40 + number % 7) / ((6 + 0.01 * number) ** 2 - energies**2 - 0.6j * (energies + 0.3))
    return six_digits(eps.real), six_digits(eps.imag)


def entry(number: int = 0, cell: str = "cubic", n_energies: int = 101, *, has_rpa: bool = True) -> Any:
    """A whole entry, with all that the published files say beside the spectra."""
    lattice, sites, keys, space_group = copy.deepcopy(CELLS[cell])
    name = f"agm{number:09d}"
    symbols = [symbol for symbol, _ in sites]
    data: dict[str, Any] = {
        "mat_id": name,
        "prototype_id": "AB_42_spg225",
        "location": f"cgat_prot/AB/runs/batch-001/{name}",
        "formula": "".join(symbols),
        "elements": symbols,
        "spg": space_group,
        "nsites": len(sites),
        "stress": [[0.328961, 0.0, 0.0], [0.0, 0.328961, 0.0], [0.0, 0.0, -0.0]],
        "energy_total": -12.8779842,
        "total_mag": 1e-07,
        "band_gap_ind": 3.6353,
        "e_above_hull": 0.0,
        "decomposition": " MgO ",
    }
    for rung in ("ipa", "rpa") if has_rpa else ("ipa",):
        parts = [
            spectra(number + 10 * place + (3 if rung == "rpa" else 0), n_energies)
            for place in range(len(keys))
        ]
        for column, part in ((1, "I"), (0, "R")):
            data[f"{rung}_eps{part}"] = {key: two[column] for key, two in zip(keys, parts, strict=True)}
    if has_rpa:
        data["rpa_similarity"] = three(keys, [0.9493585228919983, 0.98, 0.9713453650474548], 0.0)
    data |= {"ipa_indirect_gap": 3.643791342118722, "ipa_direct_gap": 4.034848175021412}
    return {
        "@module": "pymatgen.core.entries",
        "@class": "ComputedStructureEntry",
        "energy": -12.8779842,
        "composition": dict.fromkeys(symbols, 1.0),
        "entry_id": name,
        "correction": 0.0,
        "energy_adjustments": [],
        "parameters": {
            "rpa_kppa": 1458,
            "rpa_G": three(keys, [4000, 2000, 6000], 0) if has_rpa else [0, 0, 0],
            "rpa_broad": 0.3,
        },
        "data": data,
        "structure": {
            "@module": "pymatgen.core.structure",
            "@class": "Structure",
            "charge": 0.0,
            "lattice": {"matrix": lattice, "pbc": [True, True, True]},
            "properties": {},
            "sites": [
                {
                    "species": [{"element": symbol, "occu": 1}],
                    "abc": place,
                    "properties": {},
                    "label": symbol,
                    "xyz": (np.array(place) @ np.array(lattice)).tolist(),
                }
                for symbol, place in sites
            ],
        },
    }


def three(keys: Sequence[str], values: Sequence[Any], absent: Any) -> list[Any]:
    """One value for each of x, y, z; 0 along directions that are left out."""
    return [value if key in keys else absent for key, value in zip(("xx", "yy", "zz"), values, strict=True)]


def changed(original: Any, path: str, value: Any) -> Any:
    """A copy with the field at ``a.b.0.c`` set; ``...``: taken away."""
    new = copy.deepcopy(original)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    holder = new
    for step in parents:
        holder = holder[step]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return new


def same(first: Any, second: Any) -> bool:
    """Whether two decoded values are equal, numbers to the last bit; arrays stand for lists."""
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return np.asarray(first, dtype=float).tobytes() == np.asarray(second, dtype=float).tobytes()
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if {type(first), type(second)} in ({float}, {float, int}):  # a whole number may come back as 1.0
        return np.float64(first).tobytes() == np.float64(second).tobytes()
    return type(first) is type(second) and bool(first == second)


def write(path: Path, document: Any) -> Path:
    """As Python writes JSON, NaN included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def write_protocol(path: Path, **fields: Any) -> Path:
    """A protocol file like ``PROTOCOL``."""
    lines = [f"{name} = {value!r}" for name, value in {"n_energies": 101, **fields}.items()]
    path.write_text("\n".join(lines).replace("'", '"'))
    return path


def computed(number: int = 1, cell: str = "cubic", **fields: Any) -> Result:
    """A result of this farm, with a ladder of four rungs and all that a worker tells."""
    published = result_of_published(entry(number, cell), TERMS, f"m{number}", "")
    grid = np.random.default_rng(number)
    chance = grid.normal(size=(4, 2, 3, 101)).astype(np.float32).astype(float)
    for source, target in CELLS_FILLED.get(cell, ()):
        chance[:, :, target] = chance[:, :, source]
    protocol = PROTOCOL.to_dict()
    values: dict[str, Any] = {
        "crystal": published.crystal,
        "protocol": protocol,
        "protocol_hash": PROTOCOL.hash,
        "engine": Engine.NATIVE,
        "outcome": Outcome.DONE,
        "ladder": tuple(
            LadderStep(
                gmax_mry=2000 * i,
                n_g=1 + 14 * i,
                step_similarity=(0.9 + 0.01 * i, 0.8, 1 / 3) if i else None,
                eps=real + 1j * imaginary,
            )
            for i, (real, imaginary) in enumerate(chance)
        ),
        "gmax_converged_mry": (4000, 4000, None),
        "gap_indirect_ev": 4.1,
        "gap_direct_ev": 5.0,
        "space_group": published.space_group,
        "parameters": {"ecutwfc_ry": 60, "n_kpoints_full": 729, "response_kgrid": [9, 9, 9]},
        "programs": {"pw.x": "7.5", "farm": "0.1.0"},
        "stages": (StageUsage(stage=Stage.RESPONSE, cpu_s=1.5, wall_s=2.0, peak_memory_mb=80.0),),
        "steps": (),
        "corrections": (
            Correction(step="scf", diagnosis="slow", remedy="mixing", changes_physics=False, worked=True),
        ),
    }
    return Result(**{**values, **fields})
