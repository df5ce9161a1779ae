"""Is this machine able to take another job? Asked before each job and every two seconds between."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from farm.backlog import Backlog
from farm.errors import BrokerError
from workers.machine import free_disk_bytes
from workers.preflight import missing_from_path

_MB = 2**20
# Once closed, a worker opens with this many times the room it asks for: not to flap at the edge.
_HYSTERESIS = 1.5


def why_not(
    *, free_disk_mb: float | None, least_free_disk_mb: float, missing: Collection[str], was_closed: bool
) -> str:
    """Why a worker should take no jobs now; empty when it may. Pure.

    free_disk_mb: where its scratch is; None: that cannot be read
    missing:      programs every job needs that are not there
    was_closed:   it takes none at present
    """
    if missing:
        return f"{', '.join(missing)} not found"
    if free_disk_mb is None:
        return "the scratch directory cannot be read"
    needed_mb = least_free_disk_mb * (_HYSTERESIS if was_closed else 1.0)
    if free_disk_mb < needed_mb:
        return f"scratch is full: {free_disk_mb:.0f} MB free, {needed_mb:.0f} needed"
    return ""


@dataclass
class Readiness:
    """The state of one worker's machine, and what its jobs found out about it.

    owner:    name of the worker in the backlog
    programs: without which no job can run
    """

    backlog: Backlog
    owner: str
    scratch: Path
    least_free_disk_mb: float
    programs: tuple[str, ...] = ("pw.x", "pp.x")
    was_closed: bool = field(default=False)

    def why_not(self) -> str:
        """Why no job should be taken now; empty when one may."""
        reason = why_not(
            free_disk_mb=_free_mb(self.scratch),
            least_free_disk_mb=self.least_free_disk_mb,
            missing=missing_from_path(self.programs),
            was_closed=self.was_closed,
        )
        if not reason:
            try:
                reason = self.backlog.roster.held(self.owner)
            except BrokerError:
                reason = ""  # nothing can be taken without Redis anyway
        self.was_closed = bool(reason)
        return reason


def _free_mb(scratch: Path) -> float | None:
    place = next((p for p in (scratch, *scratch.parents) if p.exists()), None)
    try:
        return None if place is None else free_disk_bytes(place) / _MB
    except OSError:
        return None
