"""From structures to the backlog: filter, drop what is known, predict cost, order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from farm.backlog import STORED, Backlog
from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.job import Engine, Job, make_job_id
from farm.protocol import Protocol
from farm.sources import Rejected, Skipped
from farm.yambo_cost import predict_yambo_cpu_s


@dataclass
class SeedReport:
    """What became of each structure; ``jobs`` are in the order in which they will run."""

    jobs: list[Job] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def predicted_cpu_hours(self) -> dict[int, float]:
        """Predicted CPU hours of the queued jobs by number of atoms in the cell."""
        hours: defaultdict[int, float] = defaultdict(float)
        for job in self.jobs:
            hours[job.crystal.n_atoms] += job.predicted_cpu_s / 3600
        return dict(sorted(hours.items()))

    def to_dict(self) -> dict[str, Any]:
        """The document of ``farm seed --json``."""
        return {
            "queued": [
                {
                    "material": job.crystal.material_id,
                    "formula": job.crystal.formula,
                    "n_atoms": job.crystal.n_atoms,
                    "predicted_cpu_s": round(job.predicted_cpu_s, 2),
                }
                for job in self.jobs
            ],
            "skipped": [vars(item) for item in self.skipped],
            "rejected": [vars(item) for item in self.rejected],
            "predicted_cpu_hours": {str(n): round(h, 4) for n, h in self.predicted_cpu_hours.items()},
        }


def plan_jobs(
    items: Iterable[Crystal | Rejected | Skipped],
    protocol: Protocol,
    held_job_ids: frozenset[str],
    engine: Engine = Engine.NATIVE,
) -> SeedReport:
    """Turn what a source gives into jobs, cheapest first.

    held_job_ids: jobs the store has answered; their materials are skipped.
    engine:       who computes the response
    """
    report = SeedReport()
    fields, protocol_hash = protocol.to_dict(), protocol.hash
    for item in items:
        if isinstance(item, Rejected):
            report.rejected.append(item)
        elif isinstance(item, Skipped):
            report.skipped.append(item)
        elif make_job_id(item.material_id, protocol_hash, engine) in held_job_ids:
            report.skipped.append(Skipped(item.material_id, "in the store already"))
        else:
            try:
                cpu_s = _predicted_cpu_s(item, protocol, engine)
            except CrystalError as error:
                report.rejected.append(Rejected(item.material_id, error.message, error.fix))
                continue
            report.jobs.append(
                Job(
                    crystal=item,
                    protocol=fields,
                    protocol_hash=protocol_hash,
                    engine=engine,
                    predicted_cpu_s=cpu_s,
                )
            )
    report.jobs.sort(key=lambda job: (job.predicted_cpu_s, job.crystal.n_atoms, job.job_id))
    return report


def _predicted_cpu_s(crystal: Crystal, protocol: Protocol, engine: Engine) -> float:
    if engine is Engine.YAMBO:
        return predict_yambo_cpu_s(crystal, protocol)
    return predict_cost(crystal, protocol).total_cpu_s


def queue_jobs(
    report: SeedReport,
    backlog: Backlog,
    read_held: Callable[[], frozenset[str] | None] = lambda: None,
) -> SeedReport:
    """Enqueue the jobs; those the backlog knew move to ``skipped`` with their state.

    read_held: the jobs the store has answered, None where it cannot be seen. The store is the truth of
        what is done: a finished job that it does not hold (a damaged or lost file) is queued again.
    """
    known = backlog.known(job.job_id for job in report.jobs)
    finished = [job_id for job_id, state in known.items() if state in STORED]
    # Read after the states: what was finished then is in there, if it is anywhere.
    held = read_held() if finished else None
    if held is not None:
        lost = [job_id for job_id in finished if job_id not in held and backlog.redo([job for job in report.jobs if job.job_id == job_id])]
        known = {job_id: state for job_id, state in known.items() if job_id not in lost}
    fresh = [job for job in report.jobs if job.job_id not in known]
    backlog.enqueue(fresh)  # leaves out what was queued again above
    already = [
        Skipped(job.crystal.material_id, f"{known[job.job_id].value} in this farm already")
        for job in report.jobs
        if job.job_id in known
    ]
    return SeedReport(fresh, [*report.skipped, *already], report.rejected)
