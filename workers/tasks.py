"""The Celery task of a cpu worker: lease, compute, deliver; and what becomes of a job it cannot end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, signals

from farm.backlog import Backlog
from farm.console import duration
from farm.errors import (
    BrokerError,
    InputError,
    LeaseLostError,
    MemoryShortError,
    MissingProgramError,
    ResourceError,
)
from farm.hold import Hold
from farm.job import FINAL_STATES, Cause, Job, JobState, Outcome, queue_name
from farm.queues import APPEND, COMPUTE, STORE_QUEUE
from farm.result import Result
from farm.serving import REPORT_EVERY_S
from workers.compute import compute
from workers.heartbeat import Heartbeat, heartbeat
from workers.horizon import Horizon
from workers.machine import memory_kills
from workers.readiness import Readiness
from workers.scratch import sweep

LOGGER = logging.getLogger(__name__)

# How often a result is offered to a Redis that does not take it, before the lease decides.
_DELIVER_EVERY_S = 2.0
# A slot that gave a message back takes no other until the worker has closed its queues.
_CLOSING_S = 2 * REPORT_EVERY_S
# What of a failed calculation is the machine's doing: somebody else may do better.
_KILLED, _MEMORY = ("killed", "silent"), "out_of_memory"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a cpu worker computes, and how often a job may come back.

    owner:        name of the worker in the backlog
    scratch:      directory for job directories
    pseudo_dir:   directory of the UPF files
    lease_s:      silence after which the job is somebody else's
    ranks:        MPI ranks of the programs
    max_attempts: times a job's programs may be killed, or our code fail, before the job has failed
    max_returns:  times machines may give it back
    hold_s:       pause of a worker that gave a job back
    readiness:    asked before a job is taken; None: always ready
    horizon:      asked before a job is begun whether it ends in time; None: it has for ever
    """

    owner: str
    scratch: Path
    pseudo_dir: Path
    lease_s: float
    ranks: int = 1
    max_attempts: int = 3
    max_returns: int = 20
    hold_s: float = 60.0
    readiness: Readiness | None = None
    horizon: Horizon | None = None


def run_job(job_id: str, token: str, backlog: Backlog, slot: Slot) -> bool:
    """Lease, compute, deliver; True when the writer has to be told.

    Whatever goes wrong, the job is somebody's afterwards: delivered, back in the backlog, or failed with
    its reason.
    """
    if slot.readiness and (hold := slot.readiness.why_not()):
        LOGGER.error("%s: not taken: %s", job_id, hold.reason)
        backlog.give_back(job_id, token, f"{slot.owner}: {hold.reason}")
        time.sleep(_CLOSING_S)
        return False
    try:
        if slot.horizon and (reason := slot.horizon.why_not(job_id)):
            _leave_to_others(job_id, token, reason, backlog, slot)
            return False
        job = backlog.start(job_id, token, slot.owner, slot.lease_s)
    except (LeaseLostError, InputError) as error:
        LOGGER.info("%s", error)
        return False
    LOGGER.info("%s: started", job_id)
    begun_s = time.monotonic()
    try:
        with heartbeat(backlog, job_id, token, slot.lease_s) as beat:
            kills = memory_kills()
            result = compute(
                job,
                scratch=slot.scratch,
                pseudo_dir=slot.pseudo_dir,
                on_progress=beat.progress,
                cancelled=beat.lost,
                ranks=slot.ranks,
            )
            if _machine_failed(job, result, token, backlog, slot, memory_kills_before=kills):
                return False
            tell_writer = _deliver(job_id, token, result.pack(), backlog, beat)
    except LeaseLostError as error:
        LOGGER.warning("%s", error)
        return False
    except (MissingProgramError, ResourceError) as error:
        # The machine's fault, not the material's: somebody else may do better.
        LOGGER.error("%s: given back: %s", job_id, error)
        _return(job, token, error, backlog, slot)
        return False
    except BrokerError:
        raise  # nobody to give it back to: the lease runs out
    except SystemExit:
        # The worker stops it. Its programs are gone, its directory is free, and keeps what was done.
        _hand_over(job, token, time.monotonic() - begun_s, backlog, slot)
        raise
    except Exception as error:
        # An error of ours must not look like a dead worker, nor go round for ever.
        LOGGER.exception("%s: given back", job_id)
        reason = f"an error of the farm's own code: {type(error).__name__}: {error}"
        backlog.give_back(job_id, token, reason, cause=Cause.FAULT, bound=slot.max_attempts)
        return False
    LOGGER.info("%s: %s in %.1f CPU s %s", job_id, result.outcome, result.cpu_s, result.reason)
    return tell_writer


def _deliver(job_id: str, token: str, payload: bytes, backlog: Backlog, beat: Heartbeat) -> bool:
    """Offer the result until Redis takes it or the job is lost: a full Redis costs no spectrum."""
    while True:
        try:
            return backlog.deliver(job_id, token, payload)
        except BrokerError as error:
            LOGGER.warning("%s: its result waits: %s", job_id, error)
            if beat.lost.wait(_DELIVER_EVERY_S):
                raise LeaseLostError(f"{job_id}: the lease died before the result was taken") from error


def _machine_failed(
    job: Job, result: Result, token: str, backlog: Backlog, slot: Slot, *, memory_kills_before: int
) -> bool:
    """Give a job back whose programs were killed; False at the bound, where the failure is its result."""
    if result.outcome is not Outcome.FAILED or result.diagnosis not in (*_KILLED, _MEMORY):
        return False
    short = result.diagnosis == _MEMORY or memory_kills() > memory_kills_before
    state = backlog.give_back(
        job.job_id,
        token,
        f"{slot.owner}: {result.reason}",
        cause=Cause.KILLED,
        bound=slot.max_attempts,
        keep=True,
        queue=_larger_queue(job, backlog) if short else "",
    )
    if state is JobState.RUNNING:
        return False
    LOGGER.error("%s: given back: %s", job.job_id, result.reason)
    return True


def _return(job: Job, token: str, error: Exception, backlog: Backlog, slot: Slot) -> None:
    larger = _larger_queue(job, backlog) if isinstance(error, MemoryShortError) else ""
    reason = f"{slot.owner}: {error}"
    backlog.give_back(job.job_id, token, reason, cause=Cause.RETURNED, bound=slot.max_returns, queue=larger)
    if not larger:
        backlog.roster.hold(slot.owner, Hold(str(error)), slot.hold_s)
        time.sleep(_CLOSING_S)


def _leave_to_others(job_id: str, token: str, reason: str, backlog: Backlog, slot: Slot) -> None:
    """Give back what would not end in time. The pause keeps it from coming again at once."""
    LOGGER.info("%s: not begun: %s", job_id, reason)
    backlog.give_back(job_id, token, f"{slot.owner}: {reason}")
    backlog.roster.hold(slot.owner, Hold(reason, is_leaving=True), slot.hold_s)
    time.sleep(_CLOSING_S)


def _hand_over(job: Job, token: str, ran_s: float, backlog: Backlog, slot: Slot) -> None:
    """Give back what a worker that leaves has begun, uncounted.

    Counted is what the end of a walltime cut off although it ran for longer than it should: a job that
    fits into nobody's would be begun for ever.
    """
    cause = None
    try:
        if slot.horizon and slot.horizon.cut_off(job.job_id, ran_s):
            cause = Cause.RETURNED
        reason = f"{slot.owner} was stopped, after {duration(ran_s)} of this job"
        state = backlog.give_back(job.job_id, token, reason, cause=cause, bound=slot.max_returns)
        LOGGER.info("%s: handed over; now %s", job.job_id, state)
    except BrokerError as error:
        LOGGER.warning("%s: %s", job.job_id, error)


def _larger_queue(job: Job, backlog: Backlog) -> str:
    """The queue of the next slot class that somebody serves; empty where nobody does."""
    served = {queue for worker in backlog.roster.workers() for queue in worker.get("queues", ())}
    larger = job.slot_class.larger()
    while larger is not None:
        queue = queue_name(job.engine, larger)
        if queue in served:
            return queue
        larger = larger.larger()
    return ""


def sweep_scratch(backlog: Backlog, scratch: Path) -> None:
    """Remove the job directories of killed workers, but for jobs that may still resume there."""

    def is_open(job_id: str) -> bool:
        state = backlog.known([job_id]).get(job_id)
        return state is not None and state not in FINAL_STATES

    for name in sweep(scratch, is_open):
        LOGGER.info("scratch of %s removed", name)


def register(app: Celery, backlog: Backlog, slot: Slot) -> None:
    """Register the task the scheduler sends."""

    @app.task(name=COMPUTE)  # type: ignore[untyped-decorator]  # celery has no types
    def task(job_id: str, token: str) -> None:
        if run_job(job_id, token, backlog, slot):
            app.send_task(APPEND, queue=STORE_QUEUE)

    def lost(sender: Any, exception: BaseException, args: Any, **_: Any) -> None:
        # Told in the parent when a pool process dies: no need to wait for its lease.
        if isinstance(exception, WorkerLostError) and getattr(sender, "name", "") == COMPUTE:
            _give_back_lost(args, backlog, slot)

    signals.task_failure.connect(lost, weak=False)


def _give_back_lost(arguments: Any, backlog: Backlog, slot: Slot) -> None:
    job_id, token = arguments
    reason = f"worker {slot.owner}: the process that computed it died"
    try:
        state = backlog.give_back(job_id, token, reason, cause=Cause.WORKER_LOST, bound=slot.max_attempts)
        LOGGER.warning("%s: its process died; now %s", job_id, state)
    except BrokerError as error:
        LOGGER.warning("%s: its process died: %s", job_id, error)
