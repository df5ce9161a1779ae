"""A job: one crystal under one protocol with one engine; its states and what moves it.

::

    ready -> dispatched -> running -> done | metal | unconverged | failed
      ^          |            |
      +----------+------------+   a lease died: back to ready, one attempt spent
    ready | dispatched | running -> cancelled
    failed | cancelled | unconverged -> ready   (farm retry)
    done | metal | unconverged -> ready         (farm seed, where the store has lost the result)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farm.crystal import Crystal
from farm.errors import InputError
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
    """

    crystal: Crystal
    protocol: Mapping[str, Any]
    protocol_hash: str
    engine: Engine = Engine.NATIVE
    predicted_cpu_s: float = 0.0

    @property
    def job_id(self) -> str:
        """``<material>.<protocol>.<engine>``: the same job seeded twice is one job."""
        return make_job_id(self.crystal.material_id, self.protocol_hash, self.engine)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for msgpack and JSON."""
        return {
            "crystal": self.crystal.to_dict(),
            "protocol": dict(self.protocol),
            "protocol_hash": self.protocol_hash,
            "engine": self.engine.value,
            "predicted_cpu_s": self.predicted_cpu_s,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """The inverse of :meth:`to_dict`. Raises InputError for a record of another version."""
        try:
            return cls(
                crystal=Crystal.from_dict(data["crystal"]),
                protocol=data["protocol"],
                protocol_hash=str(data["protocol_hash"]),
                engine=Engine(data["engine"]),
                predicted_cpu_s=float(data["predicted_cpu_s"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"not a job record of this version: {error!r}", fix="Seed the material again"
            ) from error


def make_job_id(material_id: str, protocol_hash: str, engine: Engine | str) -> str:
    """The job of a material under a protocol with an engine."""
    return f"{material_id}.{protocol_hash[:12]}.{Engine(engine).value}"
