"""Jobs into the backlog, those that are known left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farm.backlog import STORED, Backlog
from farm.job import Job, JobState


@dataclass(frozen=True)
class Queued:
    """What the report keeps of a job."""

    material: str
    formula: str
    n_atoms: int
    predicted_cpu_s: float

    @classmethod
    def from_job(cls, job: Job) -> Queued:
        """The row of a job."""
        crystal = job.crystal
        return cls(crystal.material_id, crystal.formula, crystal.n_atoms, job.predicted_cpu_s)


class Queueing:
    """Puts batches of jobs into a backlog.

    read_held: the jobs the store has answered, None where it cannot be seen. The store is the truth of
        what is done: a finished job that it does not hold (a damaged or lost file) is queued again.
    """

    def __init__(
        self, backlog: Backlog, read_held: Callable[[], frozenset[str] | None] = lambda: None
    ) -> None:
        self._backlog = backlog
        self._read_held = read_held

    def queue(self, jobs: Sequence[Job]) -> dict[str, JobState]:
        """Queue the jobs that are not known; the ids and states of the others.

        Raises BrokerError when Redis does not answer or is full; a batch of up to 500 is queued whole or
        not at all.
        """
        known = self._backlog.known(job.job_id for job in jobs)
        finished = [job for job in jobs if known.get(job.job_id) in STORED]
        # Read after the states: what was finished then is in there, if it is anywhere.
        held = self._read_held() if finished else None
        if held is not None:
            lost = self._backlog.redo([job for job in finished if job.job_id not in held])
            known = {job_id: state for job_id, state in known.items() if job_id not in set(lost)}
        # Leaves out what was queued again above.
        self._backlog.enqueue(job for job in jobs if job.job_id not in known)
        return known
