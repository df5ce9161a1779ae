"""Jobs into the backlog, those that are known left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from farm.backlog import STORED, Backlog
from farm.job import Job, JobState
from farm.rung import Rung, RungChoice

# Nothing will come of these by itself.
_ENDED_WITHOUT_RESULT = (JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Queued:
    """What the report keeps of a job.

    rung:   at which it is computed
    choice: why that, where it was chosen for this crystal
    """

    material: str
    formula: str
    n_atoms: int
    predicted_cpu_s: float
    rung: Rung = Rung.RPA
    choice: RungChoice | None = None

    @classmethod
    def from_job(cls, job: Job, rung: Rung = Rung.RPA, choice: RungChoice | None = None) -> Queued:
        """The row of a job."""
        crystal = job.crystal
        return cls(crystal.material_id, crystal.formula, crystal.n_atoms, job.predicted_cpu_s, rung, choice)

    def to_dict(self) -> dict[str, Any]:
        """As `farm seed --json` has it; a predicted similarity only where the rung was chosen by it."""
        record = {
            "material": self.material,
            "formula": self.formula,
            "n_atoms": self.n_atoms,
            "predicted_cpu_s": self.predicted_cpu_s,
            "rung": self.rung.value,
        }
        if self.choice is not None:
            predicted = self.choice.predicted_similarity
            record["predicted_similarity"] = None if predicted is None else round(predicted, 4)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict` but for the reason of a choice."""
        rung, choice = Rung(record["rung"]), None
        if "predicted_similarity" in record:
            predicted = record["predicted_similarity"]
            choice = RungChoice(rung=rung, reason="", predicted_similarity=predicted)
        return cls(
            record["material"],
            record["formula"],
            record["n_atoms"],
            record["predicted_cpu_s"],
            rung,
            choice,
        )


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

    def answered(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """The states of those jobs that will bring a result, or have brought one that is not lost.

        Raises BrokerError when Redis does not answer.
        """
        known = self._backlog.known(job_ids)
        hopeful = {job_id: state for job_id, state in known.items() if state not in _ENDED_WITHOUT_RESULT}
        finished = any(state in STORED for state in hopeful.values())
        # Read after the states, as above.
        held = self._read_held() if finished else None
        if held is None:
            return hopeful
        return {job_id: state for job_id, state in hopeful.items() if state not in STORED or job_id in held}
