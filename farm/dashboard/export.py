"""Rows of a frame as CSV and JSON, in parts: a long table is never in memory as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from farm.dashboard.snapshot import TEXT_COLUMNS
from farm.store.frame import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 1000


def csv_parts(frame: pd.DataFrame | None, positions: Sequence[int]) -> Iterator[str]:
    """A header, then the rows; nothing where a calculation does not say."""
    if frame is None:
        yield ",".join((*COLUMNS, *TEXT_COLUMNS)) + "\n"
    for n, part in enumerate(_parts(frame, positions)):
        text = part.map(_harmless).to_csv(index=False, header=n == 0, lineterminator="\n")
        yield str(text)


def json_parts(frame: pd.DataFrame | None, positions: Sequence[int]) -> Iterator[str]:
    """One document; null where a calculation does not say."""
    yield f'{{"total": {len(positions)}, "materials": ['
    between = ""
    for part in _parts(frame, positions):
        if len(part):
            rows = (json.dumps(row, allow_nan=False) for row in part.to_dict("records"))
            # In one piece: each one is handed over between threads.
            yield between + ",\n".join(rows)
            between = ",\n"
    yield "]}\n"


def _parts(frame: pd.DataFrame | None, positions: Sequence[int]) -> Iterator[pd.DataFrame]:
    if frame is None:
        return
    # An empty selection has a header.
    for start in range(0, max(1, len(positions)), _ROWS):
        part = frame.iloc[positions[start : start + _ROWS]].copy()
        part["stored_utc"] = part["stored_utc"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
        part = part.astype(object)
        yield part.where(part.notna(), None)


def _harmless(value: Any) -> Any:
    # A sheet would take what begins so for a formula of its own.
    return "'" + value if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
