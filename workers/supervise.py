"""The only place that builds a Custodian: one run of a program, corrected until it is good or given up."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

from custodian.custodian import Custodian, CustodianError

from farm.errors import (
    CalculationError,
    CrystalError,
    FarmError,
    LeaseLostError,
    MemoryShortError,
    MissingProgramError,
    ResourceError,
)
from workers.diagnosis import Diagnosis, Evidence, Severity
from workers.handlers import CancelMonitor, RunHandler, RunValidator, SessionHandler, SessionJob
from workers.monitors import machine_monitors
from workers.qe.handlers import StagnationMonitor
from workers.qe.jobs import PwSession
from workers.qe.outputs import PwOutput
from workers.sessions import Session

Output = TypeVar("Output")

# Small cells take a second: a poll costs microseconds, monitors read files once a second.
POLL_S = 0.1
POLLS_PER_MONITOR = 10

# Above the sum of all remedies' limits of one diagnosis; custodian's own default is one.
MAX_ERRORS = 10

# custodian logs every correction as an error; ours are in the result.
_CUSTODIAN_LOGGERS = ("custodian.custodian",)


def run_pw(session: PwSession) -> PwOutput:
    """Run a pw.x session to a good output; raises as :func:`run_session` does."""
    return run_session(session, monitors=[StagnationMonitor(session)])


def run_session(session: Session[Any, Output], monitors: Sequence[SessionHandler] = ()) -> Output:
    """Run a session to a good output.

    Raises CalculationError with the diagnosis when no remedy is left, ResourceError when the machine
    is to blame, MissingProgramError when something must be installed, LeaseLostError when cancelled.
    """
    for name in _CUSTODIAN_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    custodian = Custodian(
        handlers=[CancelMonitor(session), *machine_monitors(session), *monitors, RunHandler(session)],
        jobs=[SessionJob(session)],
        validators=[RunValidator(session)],
        max_errors=MAX_ERRORS,
        polling_time_step=POLL_S,
        monitor_freq=POLLS_PER_MONITOR,
        terminate_on_nonzero_returncode=False,
        directory=str(session.directory),
    )
    try:
        with warnings.catch_warnings():
            # An exit code is not evidence; the validator has read the output by then.
            warnings.filterwarnings("ignore", message="subprocess returned a non-zero return code")
            custodian.run()  # type: ignore[no-untyped-call]  # custodian has no types
    except CustodianError as error:
        raise _verdict(session) from error
    finally:
        session.stop()
    if session.output is None:
        raise _verdict(session)
    return session.output


def _verdict(session: Session[Any, Any]) -> FarmError:
    if session.cancelled.is_set():
        return LeaseLostError(f"{session.step}: stopped, the job is no longer this worker's")
    diagnosis = session.diagnosis or Diagnosis(
        name="unknown", evidence=Evidence(text=f"{session.program} left no usable output")
    )
    text = f"{session.step}: {diagnosis}; tried: {session.tried()}"
    match diagnosis.severity:
        case Severity.CONFIGURATION:
            return MissingProgramError(text, fix=session.configuration_fix)
        case Severity.MACHINE if diagnosis.name == "out_of_memory":
            return MemoryShortError(text, fix="Give its slot more memory")
        case Severity.MACHINE:
            return ResourceError(text, fix="Free disk space or memory on this machine")
        case Severity.STRUCTURE:
            return CrystalError(text)
        case _:
            return CalculationError(text)
