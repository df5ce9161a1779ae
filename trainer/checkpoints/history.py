"""What happened to the versions of a registry: one line of JSON each, appended and never changed.

::

    {"time": "2026-01-02T03:04:05+00:00", "event": "promoted", "version": "0004-8be2d1",
     "from": "0003-3f2a9c", "why": "refit", "numbers": {"median_sc": 0.91, "before": 0.89}}

``from`` is the version in use before or, of what was pulled or imported, where it came from.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from numbers import Integral, Real
from pathlib import Path
from typing import Any

# More is no line of ours.
_LONGEST_WHY = 500


class Event(StrEnum):
    """What can happen to a version."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    PULLED = "pulled"
    IMPORTED = "imported"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line.

    time:    ISO 8601 with time zone
    event:   an :class:`Event`; of a newer farm perhaps one that is not known here
    origin:  the version in use before, or where it came from; None: there was none
    why:     in words
    numbers: what was decided by, such as medians of SC; None for what was not measured
    """

    time: str
    event: str
    version: str
    origin: str | None
    why: str
    numbers: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in the file."""
        return {
            "time": self.time,
            "event": str(self.event),
            "version": self.version,
            "from": self.origin,
            "why": self.why,
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True)
class History:
    """Entries, the oldest first, and the number of lines that could not be read."""

    entries: tuple[Entry, ...]
    n_damaged: int


def entry(
    event: Event, version: str, *, now: datetime, origin: str | None, why: str, numbers: Mapping[str, Any]
) -> Entry:
    """An entry of plain values: what is not a finite number is None."""
    return Entry(
        time=now.isoformat(timespec="seconds"),
        event=event,
        version=version,
        origin=origin,
        why=" ".join(why.split())[:_LONGEST_WHY],
        numbers={name: _number(value) for name, value in numbers.items()},
    )


def append(path: Path, line: Entry) -> None:
    """Add one line and wait until the disk has it. Raises OSError."""
    data = json.dumps(line.to_dict(), allow_nan=False).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # A pull and the trainer may come together; the lock ends with the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        # Behind a line that a full disk or a loss of power cut short, a new one starts.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> History:
    """Every line that can be read; a file that is not there has none. Raises OSError."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return History((), 0)
    parsed = [_parsed(line) for line in lines if line.strip()]
    entries = tuple(found for found in parsed if found is not None)
    return History(entries, len(parsed) - len(entries))


def _parsed(line: bytes) -> Entry | None:
    try:
        data = json.loads(line)
        return Entry(
            time=datetime.fromisoformat(data["time"]).isoformat(),
            event=str(data["event"]),
            version=str(data["version"]),
            origin=None if data.get("from") is None else str(data["from"]),
            why=str(data.get("why", "")),
            numbers={str(name): _number(value) for name, value in dict(data.get("numbers", {})).items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, Integral) else float(value)
