"""A job as it is shown, read from Redis without its crystal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from farm.backlog.connection import Connection, broker_errors
from farm.job import Cause, JobState

_FIELDS = ("state", "queue", "formula", "n_atoms", "predicted_cpu_s", "stage", "owner", "reason", "cpu_s")
_COUNTED = tuple(Cause)
_NAMES = [*_FIELDS, "changed_ms", "started_ms", *(f"back_{cause.value}" for cause in _COUNTED)]


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as `farm jobs` shows it; times in ms of Redis' clock.

    queue:  engine and slot class
    causes: how often it came back, by what brought it back
    """

    job_id: str
    state: JobState
    queue: str
    formula: str
    n_atoms: int
    predicted_cpu_s: float
    stage: str
    owner: str
    reason: str
    cpu_s: float | None
    changed_ms: int
    started_ms: int | None = None
    causes: dict[str, int] = field(default_factory=dict)

    @property
    def material_id(self) -> str:
        """The material, the first part of the id."""
        return self.job_id.split(".", 1)[0]

    @property
    def attempts(self) -> int:
        """How often it came back counted, all causes together."""
        return sum(self.causes.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {"material": self.material_id, **vars(self), "state": self.state.value}


def read_views(connection: Connection, ids: Sequence[str]) -> Iterator[JobView]:
    """The jobs with these ids in their order; unknown ones are left out."""
    with broker_errors():
        pipeline = connection.redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(connection.key("job:" + job_id), _NAMES)
        rows = pipeline.execute()
    for job_id, row in zip(ids, rows, strict=True):
        if row[0] is not None:
            yield _view(job_id, cast("list[bytes | None]", row))


def _view(job_id: str, row: list[bytes | None]) -> JobView:
    text = [(value or b"").decode() for value in row]
    counts = {cause.value: int(n) for cause, n in zip(_COUNTED, text[11:], strict=True) if n}
    return JobView(
        job_id=job_id,
        state=JobState(text[0]),
        queue=text[1],
        formula=text[2],
        n_atoms=int(text[3]),
        predicted_cpu_s=float(text[4]),
        stage=text[5],
        owner=text[6],
        reason=text[7],
        cpu_s=float(text[8]) if text[8] else None,
        changed_ms=int(float(text[9])),
        started_ms=int(float(text[10])) if text[10] else None,
        causes=counts,
    )
