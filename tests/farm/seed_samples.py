"""Sources of many small crystals that are quick to parse: orthorhombic cells of two atoms."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any


def entry(number: int, **data: Any) -> dict[str, Any]:
    """One of as many different crystals as there are numbers, named ``m<number>``."""
    edges = (3.2 + 1e-4 * number, 4.1, 5.3)
    return {
        "data": {"mat_id": f"m{number}", "total_mag": 0.0, "band_gap_ind": 4.0, **data},
        "structure": {
            "lattice": {"matrix": [[edges[i] if i == j else 0.0 for j in range(3)] for i in range(3)]},
            "sites": [
                {"species": [{"element": symbol, "occu": 1}], "abc": abc}
                for symbol, abc in (("Mg", [0.0, 0.0, 0.0]), ("O", [0.5, 0.5, 0.4]))
            ],
        },
    }


def write_entries(path: Path, entries: list[dict[str, Any]]) -> Path:
    """A file as Alexandria publishes it."""
    path.write_bytes(bz2.compress(json.dumps({"entries": entries}).encode()))
    return path
