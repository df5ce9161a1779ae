"""Entries with NaN in them as JSON that has none, and back; pure.

Python writes NaN and infinities into JSON, which no standard knows; the store keeps none of them. What an
entry says of a metal that way is kept beside it, each place by its path.
"""

from __future__ import annotations

import math
from typing import Any

# Where in the entry; what is there, or what the list there is full of and how long it is.
Place = list[Any]

_NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def hidden(value: Any) -> tuple[Any, list[Place]]:
    """The same value with null for what is not finite, and the places where that was."""
    places: list[Place] = []
    return _hidden(value, [], places), places


def restored(value: Any, places: list[Place]) -> Any:
    """The inverse of :func:`hidden`. Raises ValueError for places that are none of the value."""
    found = [value]
    for place in places:
        try:
            path, name, *length = place
            steps: list[Any] = [0, *path]
            *parents, last = steps
            holder: Any = found
            for step in parents:
                holder = holder[step]
            holder[last] = [_NAMES[name]] * length[0] if length else _NAMES[name]
        except (TypeError, KeyError, IndexError, ValueError) as error:
            raise ValueError(f"no place of it: {place!r:.80}") from error
    return found[0]


def _hidden(value: Any, path: list[Any], places: list[Place]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        places.append([path, _name(value)])
        return None
    if isinstance(value, dict):
        return {key: _hidden(item, [*path, key], places) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > 1 and all(isinstance(item, float) and math.isnan(item) for item in value):
            places.append([path, "NaN", len(value)])
            return None
        return [_hidden(item, [*path, i], places) for i, item in enumerate(value)]
    return value


def _name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
