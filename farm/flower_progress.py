"""Tells Flower the stage of each running job, as Celery events that nobody sends while nobody watches.

Celery knows of a job only that it was sent, began and ended; the stage is in the backlog. This runs beside
Flower, in its process. A Flower that was started late learns so of the jobs that had begun before, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from farm.backlog import Backlog, JobView
from farm.errors import BrokerError
from farm.job import JobState
from farm.queues import COMPUTE
from farm.repeated import repeated

LOGGER = logging.getLogger(__name__)

# Its name makes the state that Flower shows.
EVENT = "task-progress"
_LOOK_EVERY_S = 2.0


def news(running: Iterable[JobView], told: Mapping[str, str]) -> dict[str, JobView]:
    """The running jobs whose stage is another than was told; pure."""
    return {
        job.job_id: job
        for job in running
        if job.state is JobState.RUNNING and told.get(job.job_id) != (job.stage or job.owner)
    }


def event_fields(job: JobView, task_id: str) -> dict[str, Any]:
    """What Flower shows of a job: its formula and material where arguments stand, its stage behind them."""
    return {
        "uuid": task_id,
        "name": COMPUTE,
        "args": f"{job.formula} ({job.job_id})",
        "kwargs": f"stage: {job.stage or 'begins'}",
        "hostname": job.owner,
    }


@contextmanager
def telling(backlog: Backlog, app: Celery) -> Iterator[None]:
    """Publish the stages for as long as the context lasts."""
    told: dict[str, str] = {}

    def tell() -> bool:
        nonlocal told
        try:
            told = _tell(backlog, app, told)
        except (BrokerError, KombuError, OperationalError, RedisError, OSError) as error:
            LOGGER.warning("stages are not told: %s", error)
        return True

    with repeated(tell, _LOOK_EVERY_S, name="stages for Flower"):
        yield


def _tell(backlog: Backlog, app: Celery, told: Mapping[str, str]) -> dict[str, str]:
    running = [job for job in backlog.leased() if job.state is JobState.RUNNING]
    changed = news(running, told)
    task_ids = backlog.task_ids(list(changed))
    for job_id, task_id in task_ids.items():
        fields = event_fields(changed[job_id], task_id)
        # As from the worker: Flower counts jobs by who says something of them.
        with app.events.default_dispatcher(hostname=fields.pop("hostname")) as dispatcher:
            dispatcher.send(EVENT, **fields)
    return {job.job_id: job.stage or job.owner for job in running}
