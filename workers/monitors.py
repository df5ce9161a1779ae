"""Watching a run while it runs: a full disk, no memory left, and a process that does nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from farm.free_disk import free_disk_bytes
from workers.diagnosis import Diagnosis, Evidence, RunOutcome, Severity
from workers.handlers import Pace, SessionHandler
from workers.machine import TreeUse, available_memory_bytes, tree_use
from workers.sessions import LEAST_FREE_BYTES, Session

_MB = 2**20

# With less than this left the kernel begins to choose what it kills.
LEAST_AVAILABLE_BYTES = 256 * _MB

# A run that has used no CPU for so long waits for something that does not come.
SILENCE_S = 300.0
_LEAST_CPU_S = 0.1

# Programs print their name at once; one that has not by then spins in the start of MPI.
SPEECHLESS_S = 60.0


def diagnose_disk(free_bytes: int) -> Diagnosis | None:
    """A disk so full that the run would end with files cut off."""
    if free_bytes >= LEAST_FREE_BYTES:
        return None
    return Diagnosis(
        name="disk_full",
        evidence=Evidence(text=f"{free_bytes // _MB} MB free while it ran"),
        severity=Severity.MACHINE,
    )


def diagnose_memory(available_bytes: int, use: TreeUse) -> Diagnosis | None:
    """No memory left, and this run holds more than what is missing."""
    if available_bytes >= LEAST_AVAILABLE_BYTES or use.resident_bytes < LEAST_AVAILABLE_BYTES:
        return None
    text = f"{available_bytes // _MB} MB left on the machine, this run holds {use.resident_bytes // _MB} MB"
    return Diagnosis(name="out_of_memory", evidence=Evidence(text=text), severity=Severity.MACHINE)


class DiskMonitor(SessionHandler):
    """Ends a run before it fills the disk to the last byte."""

    is_monitor = True

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether too little is free where the run writes."""
        if self.session.running:
            self.diagnosis = diagnose_disk(free_disk_bytes(self.session.directory))
        return self.session.running and self.diagnosis is not None


class MemoryMonitor(SessionHandler):
    """Ends a run before the kernel kills one of its choice."""

    is_monitor = True

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the machine's memory is used up, by this run as well."""
        available = available_memory_bytes()
        if not self.session.running or available >= LEAST_AVAILABLE_BYTES:
            return False
        self.diagnosis = diagnose_memory(available, tree_use(self.session.process_ids[-1]))
        return self.diagnosis is not None


class SilenceMonitor(SessionHandler):
    """Ends a run that uses no CPU any more, or has not said a word since it was started."""

    is_monitor = True

    def __init__(self, session: Session[Any, Any], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(session)
        self._clock = clock
        self._pace = Pace(clock)
        self._attempt = 0
        self._started_s, self._busy_s, self._cpu_s = 0.0, 0.0, 0.0

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the run has done nothing for the whole time."""
        session, now_s = self.session, self._clock()
        if not session.running or not self._pace.is_due(session.attempt):
            return False
        cpu_s = tree_use(session.process_ids[-1]).cpu_s
        if session.attempt != self._attempt:
            self._attempt, self._started_s, self._busy_s, self._cpu_s = session.attempt, now_s, now_s, cpu_s
        if cpu_s > self._cpu_s + _LEAST_CPU_S:
            self._busy_s, self._cpu_s = now_s, cpu_s
        if now_s - self._busy_s >= SILENCE_S:
            text = f"no CPU time used in {now_s - self._busy_s:.0f} s, {cpu_s:.1f} s before"
        elif now_s - self._started_s >= SPEECHLESS_S and not session.has_printed():
            text = f"not a word in {now_s - self._started_s:.0f} s, {cpu_s:.1f} s of CPU time used"
        else:
            return False
        self.diagnosis = Diagnosis(
            name="silent", evidence=Evidence(text=text), outcome=RunOutcome.INCOMPLETE
        )
        return True


def machine_monitors(session: Session[Any, Any]) -> list[SessionHandler]:
    """The monitors that every program has."""
    return [DiskMonitor(session), MemoryMonitor(session), SilenceMonitor(session)]
