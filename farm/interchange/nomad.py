"""How each exported result was computed, in the words of NOMAD's ``results`` section as far as it has them.

Written beside an export for whoever uploads it to an archive: programs, method, functional,
pseudopotentials, k-grid and broadening, which the published format has no place for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import farm
from farm.errors import CrystalError
from farm.interchange.whole_file import whole_file
from farm.pseudopotentials import entry as pseudopotential
from farm.store import Store, StoredRow

# Files named so are no entries: the import passes them by.
SUFFIX = ".nomad.json"

_ABOUT = (
    "One item a result. `results` follows the section of that name in the metainfo of NOMAD; `calculation` "
    "has what it knows no name for, units in the names. Null: the result does not say. `declared`: not "
    "recorded by who computed it, but a parameter of the protocol that the import was told it follows."
)
_FUNCTIONALS = {"PBE": ["GGA_X_PBE", "GGA_C_PBE"]}
_COLUMNS = ("crystal", "protocol", "parameters", "programs", "space_group", "origin")


def export_nomad(store: Store, rows: Sequence[StoredRow], export: Path) -> Path:
    """Write the metadata of rows into the directory, or beside the file, ``export``; where it is.

    Raises StoreError where it cannot be written.
    """
    in_directory = export.is_dir()
    path = export / f"export{SUFFIX}" if in_directory else export.with_name(export.name + SUFFIX)
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        head = {"about": _ABOUT, "created_by": f"farm {farm.__version__}"}
        file.write(json.dumps(head)[:-1] + ', "entries": [')
        between = "\n"
        for row, texts in _with_texts(store, rows):
            name = f"{row.material_id}.json" if in_directory else export.name
            file.write(between + json.dumps({"file": name, **_described(row, texts)}, allow_nan=False))
            between = ",\n"
        file.write("\n]}\n")
    return path


def _with_texts(store: Store, rows: Sequence[StoredRow]) -> Iterator[tuple[StoredRow, Mapping[str, Any]]]:
    chosen = {row.index for row in rows}
    for row, texts in zip(store.rows(), store.texts(*_COLUMNS), strict=True):
        if row.index in chosen:
            told = dict(zip(_COLUMNS, texts, strict=True))
            symbol = told.pop("space_group")
            yield (
                row,
                {"space_group": symbol} | {name: json.loads(text or "{}") for name, text in told.items()},
            )


def _described(row: StoredRow, texts: Mapping[str, Any]) -> dict[str, Any]:
    crystal, protocol, used = texts["crystal"], texts["protocol"], texts["parameters"]
    elements = sorted(set(crystal["species"]))
    programs = texts["programs"]
    solver = "yambo" if row.engine.value == "yambo" else "farm"
    return {
        "entry_name": row.material_id,
        "results": {
            "material": {
                "elements": elements,
                "n_elements": len(elements),
                "chemical_formula_reduced": row.formula,
                "symmetry": {"space_group_symbol": texts["space_group"] or None},
            },
            "method": {
                "method_name": "DFT",
                "simulation": {
                    "program_name": solver,
                    "program_version": programs.get(solver),
                    "dft": {
                        "basis_set_type": "plane waves",
                        "core_electron_treatment": "pseudopotential",
                        "xc_functional_type": "GGA",
                        "xc_functional_names": _FUNCTIONALS.get(protocol.get("functional", "")),
                    },
                },
            },
        },
        "calculation": {
            "outcome": row.outcome.value,
            "declared": bool(texts["origin"]),
            "programs": programs,
            "response": [rung for rung, has in (("IPA", row.has_ipa), ("RPA", row.has_rpa)) if has],
            "local_field_cutoff_mry": list(row.gmax_converged_mry),
            "broadening_ev": protocol.get("damping_ev"),
            "green_function": protocol.get("green_function"),
            "bands": used.get("bands", protocol.get("bands")),
            "plane_wave_cutoff_ry": used.get("ecutwfc_ry"),
            "k_mesh": {
                "grid": used.get("response_kgrid"),
                "shift_crystal": used.get("response_kshift", protocol.get("response_kshift")),
                "k_points_per_reciprocal_atom": used.get("rpa_kppa", protocol.get("response_kppa")),
            },
            "pseudopotentials": {
                "set": protocol.get("pseudopotentials"),
                "files": {element: _file(element) for element in elements},
            },
            "protocol_hash": row.protocol_hash,
        },
    }


def _file(element: str) -> dict[str, str] | None:
    try:
        found = pseudopotential(element)
    except CrystalError:
        return None
    return {"file": found.file, "sha256": found.sha256}
