"""Is this machine able to take another job? Asked before each job and every two seconds between."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from farm.backlog import Backlog
from farm.errors import BrokerError
from farm.free_disk import MB, free_disk_bytes
from farm.hold import Hold
from workers.preflight import missing_from_path

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

    def why_not(self) -> Hold | None:
        """Why no job should be taken now; None when one may."""
        try:
            free_mb = free_disk_bytes(self.scratch) / MB
        except OSError:
            free_mb = None
        reason = why_not(
            free_disk_mb=free_mb,
            least_free_disk_mb=self.least_free_disk_mb,
            missing=missing_from_path(self.programs),
            was_closed=self.was_closed,
        )
        hold = Hold(reason) if reason else None
        if hold is None:
            with suppress(BrokerError):  # nothing can be taken without Redis anyway
                hold = self.backlog.roster.held(self.owner)
        self.was_closed = hold is not None
        return hold
