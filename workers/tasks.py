"""The Celery task of a cpu worker: lease, compute, deliver, with a heartbeat beside it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from celery import Celery

from farm.backlog import Backlog
from farm.errors import BrokerError, LeaseLostError, MissingProgramError, ResourceError
from farm.job import FINAL_STATES, Stage
from farm.queues import APPEND, COMPUTE, STORE_QUEUE
from workers.compute import compute
from workers.scratch import sweep

LOGGER = logging.getLogger(__name__)

# Heartbeats in one lease: one or two may be lost on the way.
_HEARTBEATS_PER_LEASE = 4


@dataclass
class Heartbeat:
    """The shared state of a running job and the thread that keeps its lease."""

    stage: str = ""
    lost: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)

    def progress(self, stage: Stage, text: str) -> None:
        """What the job does now; told with the next heartbeat."""
        self.stage = text or stage.value


@contextmanager
def heartbeat(backlog: Backlog, job_id: str, token: str, lease_s: float) -> Iterator[Heartbeat]:
    """Renew the lease of a running job from a thread; ``lost`` is set when the job is taken away."""
    beat = Heartbeat()

    def run() -> None:
        while not beat.stopped.wait(lease_s / _HEARTBEATS_PER_LEASE):
            try:
                if not backlog.renew(job_id, token, lease_s, beat.stage):
                    beat.lost.set()
                    return
            except BrokerError as error:
                # Redis may come back within the lease; the commit is fenced in any case.
                LOGGER.warning("%s: heartbeat: %s", job_id, error)

    thread = threading.Thread(target=run, name=f"heartbeat {job_id}", daemon=True)
    thread.start()
    try:
        yield beat
    finally:
        beat.stopped.set()
        thread.join()


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a cpu worker computes.

    owner:      name of the worker in the backlog
    scratch:    directory for job directories
    pseudo_dir: directory of the UPF files
    """

    owner: str
    scratch: Path
    pseudo_dir: Path
    lease_s: float


def run_job(job_id: str, token: str, backlog: Backlog, slot: Slot) -> bool:
    """Lease, compute, deliver. False when the job was not ours to finish; nothing is lost then."""
    try:
        job = backlog.start(job_id, token, slot.owner, slot.lease_s)
    except LeaseLostError as error:
        LOGGER.info("%s", error)
        return False
    LOGGER.info("%s: started", job_id)
    try:
        with heartbeat(backlog, job_id, token, slot.lease_s) as beat:
            result = compute(
                job,
                scratch=slot.scratch,
                pseudo_dir=slot.pseudo_dir,
                on_progress=beat.progress,
                cancelled=beat.lost,
            )
        backlog.deliver(job_id, token, result.pack())
    except LeaseLostError as error:
        LOGGER.warning("%s", error)
        return False
    except (MissingProgramError, ResourceError) as error:
        # The machine's fault, not the material's: somebody else may do better.
        LOGGER.error("%s: given back: %s", job_id, error)
        backlog.release(job_id, token, str(error))
        return False
    LOGGER.info("%s: %s in %.1f CPU s %s", job_id, result.outcome, result.cpu_s, result.reason)
    return True


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
            app.send_task(APPEND, args=[job_id], queue=STORE_QUEUE)
