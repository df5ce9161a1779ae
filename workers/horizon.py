"""Whether the jobs that come next end before this worker has to be gone: asked of the backlog."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from farm.backlog import Backlog, JobView
from farm.backlog.connection import broker_errors
from farm.cost_model import model_key
from farm.errors import BrokerError, InputError
from farm.job import Engine, JobState, split_job_id
from farm.leaving import Stay
from farm.queues import cpu_queue
from workers import walltime
from workers.walltime import Walltime, needed_wall_s

# Of the ready jobs so many are looked through for the first of each queue.
_LOOK_AHEAD = 20
_LOOK_EVERY_S = 5.0


@dataclass
class Horizon:
    """What one worker knows of its own end.

    owner:        name of the worker in the backlog
    queues:       that it serves, as ``native.small``
    walltime:     None: it has no end
    until_idle_s: it leaves that had no job for so long; None: it stays
    """

    backlog: Backlog
    owner: str
    queues: Sequence[str]
    ranks: int
    walltime: Walltime | None
    until_idle_s: float | None
    _looked_s: float = 0.0
    _next: str = ""

    def stay(self, grace_s: float) -> Stay:
        """The same in the words of whoever serves the queues."""
        return Stay(
            grace_s=grace_s,
            why_pass=self.why_not_next,
            why_leave=self._why_leave,
            is_over=self._is_over,
            doomed=self._doomed,
        )

    def why_not(self, job_id: str) -> str:
        """Why a job should not be begun here; empty when it should.

        Raises BrokerError, and InputError for what is no job id.
        """
        split_job_id(job_id)
        if self.walltime is None:
            return ""
        needed_s = self._needed_s(self.backlog.views([job_id]))
        return self.walltime.why_not(needed_s[0], time.time()) if needed_s else ""

    def cut_off(self, job_id: str, ran_s: float) -> bool:
        """Whether the walltime is over for a job that ran for longer than was predicted."""
        if self.walltime is None or not self.walltime.is_over(time.time()):
            return False
        return any(ran_s > needed_s for needed_s in self._needed_s(self.backlog.views([job_id])))

    def why_not_next(self) -> str:
        """Why none of the jobs that come next should be begun here; empty when one may."""
        if self.walltime is None:
            return ""
        # What was found stays true for longer than it takes to look again, and words tell minutes.
        if time.monotonic() - self._looked_s > _LOOK_EVERY_S:
            try:
                self._next = self._look(self.walltime)
            except BrokerError:
                return self._next
            self._looked_s = time.monotonic()
        return self._next

    def _look(self, end: Walltime) -> str:
        ready = self.backlog.views(self.backlog.ready_order(_LOOK_AHEAD))
        first: dict[str, JobView] = {}
        for view in (*self.backlog.views(self._first_messages()), *ready):
            # A message whose job runs elsewhere by now will be passed over.
            if view.queue in self.queues and view.state in (JobState.READY, JobState.DISPATCHED):
                first.setdefault(f"{view.state} {view.queue}", view)
        needed_s = self._needed_s(list(first.values()))
        return end.why_not(min(needed_s), time.time()) if needed_s else ""

    def _first_messages(self) -> list[str]:
        """The jobs whose messages Celery takes next, one of each queue."""
        with broker_errors():
            pipeline = self.backlog.connection.redis.pipeline(transaction=False)
            for queue in self.queues:
                pipeline.lindex(self.backlog.connection.key(cpu_queue(queue)), -1)
            messages = cast("list[bytes | None]", pipeline.execute())
        ids = []
        for message in messages:
            try:
                job_id = json.loads(message or b"")["headers"]["id"].rpartition(":")[0]
                split_job_id(job_id)
            except (ValueError, KeyError, TypeError, AttributeError, InputError):
                continue  # whatever it is, a worker refuses it
            ids.append(job_id)
        return ids

    def _needed_s(self, views: Sequence[JobView]) -> list[float]:
        if not views:
            return []
        priors = self.backlog.priors([view.job_id for view in views])
        models = self.backlog.cost_models()
        needed = []
        for view in views:
            _, protocol, engine = split_job_id(view.job_id)
            model = models.get(model_key(engine, protocol))
            prior = priors.get(view.job_id)
            needed.append(needed_wall_s(view.predicted_cpu_s, prior, model, Engine(engine), self.ranks))
        return needed

    def _why_leave(self, idle_s: float) -> str:
        return walltime.why_leave(self.walltime, idle_s, until_idle_s=self.until_idle_s, now_s=time.time())

    def _is_over(self) -> bool:
        return self.walltime is not None and self.walltime.is_over(time.time())

    def _doomed(self, within_s: float) -> Collection[str]:
        """Of the jobs that run here those that will not end in time, as far as is known."""
        try:
            now_s = self.backlog.now_s()
            mine = [view for view in self.backlog.leased() if view.owner == self.owner]
        except BrokerError:
            return ()
        return [view.job_id for view in mine if _is_doomed(view, now_s, within_s)]


def _is_doomed(view: JobView, now_s: float, within_s: float) -> bool:
    """By the predicted mean; what ran for longer already may end at any moment."""
    if view.state is not JobState.RUNNING or view.started_ms is None:
        return False
    left_s = view.predicted_cpu_s - (now_s - view.started_ms / 1000)
    return left_s > within_s
