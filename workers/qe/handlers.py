"""Thin custodian adapters: what they find and change is decided in failures.py and outputs.py."""

from __future__ import annotations

import shutil
from typing import Any

from custodian.custodian import ErrorHandler, Validator

from farm.errors import CalculationError
from workers.diagnosis import Diagnosis, Evidence, RunOutcome, Severity, next_remedy
from workers.qe.failures import diagnose, diagnose_stagnation
from workers.qe.jobs import PwSession
from workers.qe.outputs import mismatch, parse_pw, truncated
from workers.qe.remedies import REMEDIES

# Below this an incomplete output is blamed on the disk.
LEAST_FREE_BYTES = 64 * 2**20


class _SessionHandler(ErrorHandler):
    def __init__(self, session: PwSession) -> None:
        self.session = session
        self.diagnosis: Diagnosis | None = None

    def correct(self, directory: str = "./") -> dict[str, Any]:  # noqa: ARG002  # custodian's signature
        """Apply the next remedy; no actions where none is left, which ends custodian's run."""
        session, diagnosis = self.session, self.diagnosis
        if diagnosis is None:
            raise CalculationError("a handler was asked to correct before it found an error")
        session.diagnosis = diagnosis
        found = next_remedy(REMEDIES, diagnosis, session.used, session.pw_input)
        if found is None:
            return {"errors": [diagnosis.name], "actions": None}
        remedy, changed = found
        session.apply(diagnosis, remedy, changed)
        return {"errors": [diagnosis.name], "actions": [remedy.name]}

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this handler."""
        return {"handler": type(self).__name__}


class CancelMonitor(_SessionHandler):
    """Ends the run when the job was cancelled or its lease lost."""

    is_monitor = True

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the job was cancelled."""
        return self.session.cancelled.is_set()

    def correct(self, directory: str = "./") -> dict[str, Any]:  # noqa: ARG002  # custodian's signature
        """No action: custodian stops."""
        return {"errors": ["cancelled"], "actions": None}


class StagnationMonitor(_SessionHandler):
    """Stops an scf cycle that goes nowhere, while there is something else to try."""

    is_monitor = True

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the running cycle has not improved for ten iterations."""
        session = self.session
        if session.pw_input.calculation != "scf" or not session.running:
            return False
        self.diagnosis = diagnose_stagnation(session.stdout())
        if self.diagnosis is None:
            return False
        return next_remedy(REMEDIES, self.diagnosis, session.used, session.pw_input) is not None


class PwHandler(_SessionHandler):
    """Reads an ended run: named failures first, then whether the output is what was asked for."""

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """Whether the run went wrong; never twice for one attempt."""
        session = self.session
        # A monitor has already acted on this attempt: its cut-off output would be misread.
        if session.corrected or session.cancelled.is_set():
            return False
        self.diagnosis = diagnose(session.texts()) or judge(session)
        return self.diagnosis is not None


class PwValidator(Validator):
    """Believes only the parsed output; keeps it in the session when it is good."""

    def __init__(self, session: PwSession) -> None:
        self.session = session

    def check(self, directory: str = "./") -> bool:  # noqa: ARG002  # custodian's signature
        """True when the output is not good (custodian's convention)."""
        session = self.session
        session.diagnosis = judge(session)
        if session.diagnosis is None:
            session.output = parse_pw(session.stdout(), session.xml())
        return session.diagnosis is not None

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this validator."""
        return {"validator": type(self).__name__}


def judge(session: PwSession) -> Diagnosis | None:
    """Compare the parsed output of the latest attempt with what was asked for."""
    try:
        output = parse_pw(session.stdout(), session.xml())
        wrong = mismatch(output, session.pw_input, session.n_electrons)
        wrong = wrong or truncated(output, session.saved_sizes())
    except CalculationError as error:
        wrong = error.message
    if wrong is None:
        return None
    free = shutil.disk_usage(session.directory).free
    if free < LEAST_FREE_BYTES:
        evidence = Evidence(text=f"{wrong}; {free // 2**20} MB free")
        return Diagnosis(name="disk_full", evidence=evidence, severity=Severity.MACHINE)
    return Diagnosis(name="incomplete_output", evidence=Evidence(text=wrong), outcome=RunOutcome.INCOMPLETE)
