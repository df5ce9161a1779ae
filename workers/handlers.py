"""Thin custodian adapters of a session: what they find and change is decided by the program's own files."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from custodian.custodian import ErrorHandler, Job, Validator

from farm.errors import CalculationError
from workers.diagnosis import Diagnosis
from workers.launcher import Process
from workers.sessions import Session

_PAUSE_SHARE = 0.1
_LONGEST_PAUSE_S = 30.0


class SessionJob(Job):
    """Starts the session's attempts."""

    def __init__(self, session: Session[Any, Any]) -> None:
        self.session = session

    def setup(self, directory: str = "./") -> None:
        """Nothing to set up: each attempt writes its own input."""

    def run(self, directory: str = "./") -> Process:  # noqa: ARG002  # custodian's signature
        """Start the next attempt."""
        return self.session.start()

    def postprocess(self, directory: str = "./") -> None:
        """Nothing to do: the validator has read the output."""

    def terminate(self, directory: str = "./") -> None:  # noqa: ARG002  # custodian's signature
        """End the attempt with its whole process group; synchronous."""
        self.session.end_attempt()

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this job."""
        return {"step": self.session.step, "attempt": self.session.attempt}


class SessionHandler(ErrorHandler):
    """Corrects what a subclass finds."""

    def __init__(self, session: Session[Any, Any]) -> None:
        self.session = session
        self.diagnosis: Diagnosis | None = None

    def correct(self, directory: str = "./") -> dict[str, Any]:  # noqa: ARG002  # custodian's signature
        """Apply the next remedy; no actions where none is left, which ends custodian's run."""
        session, diagnosis = self.session, self.diagnosis
        if diagnosis is None:
            raise CalculationError("a handler was asked to correct before it found an error")
        session.diagnosis = diagnosis
        # Whatever else is seen of an attempt that was ended here is the end, not the cause.
        session.corrected = True
        found = session.remedy(diagnosis)
        if found is None:
            return {"errors": [diagnosis.name], "actions": None}
        remedy, changed = found
        session.apply(diagnosis, remedy, changed)
        return {"errors": [diagnosis.name], "actions": [remedy.name]}

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this handler."""
        return {"handler": type(self).__name__}


class Pace:
    """Lets a monitor look the less often at a run the longer it lasts: looking costs CPU time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attempt = 0
        self._started_s, self._next_s = 0.0, 0.0

    def is_due(self, attempt: int) -> bool:
        """Whether it is time to look again."""
        now_s = self._clock()
        if attempt != self._attempt:
            self._attempt, self._started_s, self._next_s = attempt, now_s, now_s
        if now_s < self._next_s:
            return False
        self._next_s = now_s + min(_LONGEST_PAUSE_S, _PAUSE_SHARE * (now_s - self._started_s))
        return True


class CancelMonitor(SessionHandler):
    """Ends the run when the job was cancelled or its lease lost."""

    is_monitor = True

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the job was cancelled."""
        return self.session.cancelled.is_set()

    def correct(self, directory: str = "./") -> dict[str, Any]:  # noqa: ARG002  # custodian's signature
        """No action: custodian stops."""
        return {"errors": ["cancelled"], "actions": None}


class RunHandler(SessionHandler):
    """Reads an ended run: named failures first, then whether the output is what was asked for."""

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the run went wrong; never twice for one attempt."""
        session = self.session
        # A monitor has already acted on this attempt: its cut-off output would be misread.
        if session.corrected or session.cancelled.is_set():
            return False
        self.diagnosis = session.recognise() or session.judge()
        return self.diagnosis is not None


class RunValidator(Validator):
    """Believes only the parsed output; the session keeps it when it is good."""

    def __init__(self, session: Session[Any, Any]) -> None:
        self.session = session

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """True when the output is not good (custodian's convention)."""
        self.session.diagnosis = self.session.judge()
        return self.session.diagnosis is not None

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this validator."""
        return {"validator": type(self).__name__}
