"""The jobs of one material in the backlog: their state, what they will take, what brought them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.backlog import Backlog
from farm.backlog.views import JobView
from farm.cost_model import CostModel, model_key
from farm.dashboard.material_facts import STAGE_NAMES
from farm.job import Cause, JobState, split_job_id
from farm.store import StoredRow

_CAUSES = {
    Cause.WORKER_LOST: "its worker was lost",
    Cause.KILLED: "its programs were killed",
    Cause.FAULT: "an error of the farm itself",
    Cause.RETURNED: "the machine could not go on",
    Cause.STALE: "queued by another version",
}
_RETRIED = (JobState.FAILED, JobState.CANCELLED, JobState.UNCONVERGED)


@dataclass(frozen=True, kw_only=True)
class StageForecast:
    """Predicted CPU seconds of a stage, and its share of all in per cent."""

    name: str
    cpu_s: float
    share: float


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """One job of a material.

    stages:   predicted, none where its record says nothing
    interval: CPU seconds that hold four of five, of all stages
    causes:   what brought it back, in words, and how often
    command:  what is typed to move it on; empty where there is nothing to do
    """

    view: JobView
    engine: str
    protocol_hash: str
    slot_class: str
    stages: tuple[StageForecast, ...]
    interval_cpu_s: tuple[float, float] | None
    memory_mb: float | None
    causes: tuple[tuple[str, int], ...]
    command: str


def queued_jobs(backlog: Backlog, material_id: str, rows: Sequence[StoredRow] = ()) -> list[QueuedJob]:
    """The jobs of a material that say more than its rows in the store, unfinished ones first.

    Raises BrokerError.
    """
    told = {(row.job_id, row.outcome.value) for row in rows}
    stored_views = backlog.views(backlog.ids_of_material(material_id))
    views = [view for view in stored_views if (view.job_id, view.state.value) not in told]
    priors = backlog.priors([view.job_id for view in views])
    models = backlog.cost_models() if priors else {}
    jobs = []
    for view in views:
        _, protocol_hash, engine = split_job_id(view.job_id)
        stages: tuple[StageForecast, ...] = ()
        interval = memory_mb = None
        if prior := priors.get(view.job_id):
            found = models.get(model_key(engine, protocol_hash), CostModel()).predict(prior)
            stages = tuple(
                StageForecast(name=STAGE_NAMES[stage], cpu_s=cpu_s, share=100 * cpu_s / found.cpu_s)
                for stage, cpu_s in found.stages_cpu_s.items()
            )
            interval, memory_mb = (found.low_cpu_s, found.high_cpu_s), prior.memory_mb
        jobs.append(
            QueuedJob(
                view=view,
                engine=engine.value,
                protocol_hash=protocol_hash,
                slot_class=view.queue.partition(".")[2],
                stages=stages,
                interval_cpu_s=interval,
                memory_mb=memory_mb,
                causes=tuple((_CAUSES.get(Cause(cause), cause), n) for cause, n in view.causes.items()),
                command=_command(view),
            )
        )
    return sorted(jobs, key=lambda job: (job.view.cpu_s is not None, job.view.job_id))


def _command(view: JobView) -> str:
    if view.state in _RETRIED:
        return f"farm retry {view.material_id}"
    return f"farm prioritise {view.material_id}" if view.state is JobState.READY else ""
