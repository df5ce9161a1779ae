"""A job: one crystal under one protocol with one engine; its states and what moves it.

::

    ready -> dispatched -> running -> done | metal | unconverged | failed
      ^          |            |
      +----------+------------+   back to ready, counted by cause; failed at a cause's bound
    ready | dispatched | running -> cancelled
    failed | cancelled | unconverged -> ready   (farm retry)
    done | metal | unconverged -> ready         (farm seed, where the store has lost the result)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farm.cost_prior import CostPrior
from farm.crystal import MATERIAL_ID, Crystal
from farm.errors import InputError
from farm.slot_class import SlotClass
from farm.stage import Engine as Engine
from farm.stage import Stage as Stage


class JobState(StrEnum):
    """Where a job is; the last five are final."""

    READY = "ready"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    DONE = "done"
    METAL = "metal"
    UNCONVERGED = "unconverged"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """How a calculation ended; each is also the name of a final job state."""

    DONE = "done"
    METAL = "metal"
    UNCONVERGED = "unconverged"
    FAILED = "failed"


class Cause(StrEnum):
    """What brought a job back to the backlog; each is counted and bounded by itself.

    worker_lost: the worker died or fell silent
    killed:      its programs were killed by something else, over and over
    fault:       an error of our own code
    returned:    the machine could not go on (a full disk, a missing program)
    stale:       its record was written by another version
    """

    WORKER_LOST = "worker_lost"
    KILLED = "killed"
    FAULT = "fault"
    RETURNED = "returned"
    STALE = "stale"


FINAL_STATES: frozenset[JobState] = frozenset(
    {JobState.DONE, JobState.METAL, JobState.UNCONVERGED, JobState.FAILED, JobState.CANCELLED}
)

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.READY: frozenset({JobState.DISPATCHED, JobState.CANCELLED}),
    JobState.DISPATCHED: frozenset({JobState.RUNNING, JobState.READY, JobState.FAILED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {
            JobState.READY,
            JobState.DONE,
            JobState.METAL,
            JobState.UNCONVERGED,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.DONE: frozenset({JobState.READY}),
    JobState.METAL: frozenset({JobState.READY}),
    JobState.UNCONVERGED: frozenset({JobState.READY}),
    JobState.FAILED: frozenset({JobState.READY}),
    JobState.CANCELLED: frozenset({JobState.READY}),
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know to compute one result.

    protocol:        all fields of the protocol, validated again by the worker
    protocol_hash:   its SHA-256
    predicted_cpu_s: user + system CPU seconds over all stages, the order of the backlog
    prior:           from which the cost is predicted anew as others are measured
    slot_class:      memory it asks of a worker's slot
    """

    crystal: Crystal
    protocol: Mapping[str, Any]
    protocol_hash: str
    engine: Engine = Engine.NATIVE
    predicted_cpu_s: float = 0.0
    prior: CostPrior | None = None
    slot_class: SlotClass = SlotClass.SMALL

    @property
    def job_id(self) -> str:
        """``<material>.<protocol>.<engine>``: the same job seeded twice is one job."""
        return make_job_id(self.crystal.material_id, self.protocol_hash, self.engine)

    @property
    def queue(self) -> str:
        """Who may take it: ``<engine>.<slot class>``."""
        return queue_name(self.engine, self.slot_class)


def queue_name(engine: Engine | str, slot_class: SlotClass | str) -> str:
    """The queue of the jobs of an engine that need slots of a class."""
    return f"{Engine(engine).value}.{SlotClass(slot_class).value}"


QUEUES: tuple[str, ...] = tuple(queue_name(e, c) for e in Engine for c in SlotClass)


def make_job_id(material_id: str, protocol_hash: str, engine: Engine | str) -> str:
    """The job of a material under a protocol with an engine."""
    return f"{material_id}.{protocol_hash[:12]}.{Engine(engine).value}"


def make_task_id(job_id: str, token: str) -> str:
    """The Celery id of the message that hands a job out with a fencing token."""
    return f"{job_id}:{token}"


_JOB_ID = re.compile(rf"({MATERIAL_ID.pattern})\.([0-9a-f]{{12}})\.({'|'.join(Engine)})")


def split_job_id(job_id: object) -> tuple[str, str, Engine]:
    """Material, beginning of the protocol's hash, engine.

    Raises InputError for what is no job id: ids become names of directories.
    """
    match = _JOB_ID.fullmatch(job_id) if isinstance(job_id, str) else None
    if match is None:
        raise InputError(f"not a job id: {job_id!r:.80}", fix="`farm jobs --json` lists the ids")
    return match[1], match[2], Engine(match[3])
