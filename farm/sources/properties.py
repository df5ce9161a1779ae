"""What sources say of their crystals, under the names that filters know; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Beyond it nothing is meant, and no format carries it.
_LARGEST = 1e100


def known_properties(said: Mapping[str, Any]) -> dict[str, float | int]:
    """Of ``band_gap_ind``, ``e_above_hull``, ``total_mag`` and ``spg`` those that are usable numbers."""
    found: dict[str, float | int] = {}
    for name, value in said.items():
        if type(value) not in (int, float) or not abs(value) < _LARGEST:
            continue
        if name != "spg":
            found[name] = float(value)
        elif value in range(1, 231):
            found[name] = int(value)
    return found
