"""The loop that keeps the farm fed: dispatch in order, reap dead leases, trigger refits.

:func:`decide` is pure; :class:`Scheduler` reads, decides, acts. One scheduler leads; others wait for its
lock to expire and take over. It sleeps until a job was started, came back or was queued, so that a slot
never waits for a tick.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from farm.backlog import Backlog, Dispatch, unfinished
from farm.backlog.older import take_over
from farm.errors import BrokerError
from farm.job import QUEUES
from farm.queues import APPEND, COMPUTE, RANK, REFIT, STORE_QUEUE, TRAINER_QUEUE, cpu_queue
from farm.rescoring import Rescoring
from farm.settings import Settings
from farm.situation import Plan, Situation, decide, n_slots_by_queue, refit_due, unserved

LOGGER = logging.getLogger(__name__)

_LEADER_TTL_S = 5.0
# A delivered result nobody stored by then: its message was lost, or the writer was away.
_REPOKE_AFTER_S = 5.0
# Jobs that start at once are answered together.
_SHORTEST_PAUSE_S = 0.002


def observe(backlog: Backlog) -> Situation:
    """Read the situation from Redis."""
    refit = backlog.roster.refit_state()
    busy = refit.get("state") in ("queued", "running")
    alive = busy and float(refit.get("until_s", 0)) > backlog.now_s()
    workers = backlog.roster.workers()
    counts = backlog.counts()
    return Situation(
        slots_by_queue=n_slots_by_queue(workers),
        slots=sum(int(w["slots"]) for w in workers if not w.get("hold")),
        trainers=sum(worker["role"] == "trainer" for worker in workers),
        n_unfinished=unfinished(counts),
        n_unserved=sum(unserved(backlog.ready_by_queue(), workers).values()),
        n_rpa=backlog.roster.stored_counts().get("rpa", 0),
        n_rpa_fitted=int(refit.get("n_rpa", 0)),
        refit_busy=alive,
        # A refit whose trainer fell silent counts as one more failure until somebody finishes.
        refit_failures=int(refit.get("failures", 0)) + (1 if busy and not alive else 0),
        n_queued=sum(counts.values()),
        n_queued_ranked=int(refit.get("n_queued", 0)),
    )


def is_idle(backlog: Backlog, settings: Settings, *, with_trainer: bool = True) -> bool:
    """True when nothing is left that can be done here.

    No unfinished job that a living worker may take and, where a trainer is expected, no refit.
    """
    situation = observe(backlog)
    refit = with_trainer and (situation.refit_busy or refit_due(situation, settings))
    return situation.n_unfinished == situation.n_unserved and not refit


class Scheduler:
    """One scheduler process: what it remembers between ticks is only for speed."""

    def __init__(self, backlog: Backlog, app: Celery, settings: Settings) -> None:
        self._backlog = backlog
        self._app = app
        self._settings = settings
        self._plan: Plan | None = None
        self._n_sent, self._since_s = 0, time.monotonic()
        self._rescoring = Rescoring(backlog)

    def tick(self) -> None:
        """One round: bring back what was lost, hand out what is next, ask for a refit when due."""
        if self._backlog.n_expired():
            self._reap()
        now_s = time.monotonic()
        starts_per_s = self._n_sent / max(now_s - self._since_s, _SHORTEST_PAUSE_S)
        self._n_sent, self._since_s = 0, now_s
        situation = replace(observe(self._backlog), starts_per_s=starts_per_s)
        self._plan = decide(situation, self._settings)
        self._rescoring.step()
        self.feed()
        self._repoke()
        if self._plan.refit:
            self._request_refit(situation)
        elif self._plan.rank:
            self._backlog.roster.set_refit_state(n_queued=situation.n_queued)
            self._send(RANK, [], queue=TRAINER_QUEUE)

    def feed(self) -> None:
        """Hand out what is next, by the plan of the last tick."""
        if self._plan is None:
            return
        jobs = self._backlog.dispatch(self._plan.window, self._settings.lease_s, self._plan.queues)
        for job in jobs:
            self._send_job(job)
        self._n_sent += len(jobs)

    def _reap(self) -> None:
        waiting = [i for queue in QUEUES for i in self._backlog.waiting_task_ids(cpu_queue(queue))]
        settings = self._settings
        for job_id, state in self._backlog.reap(settings.max_attempts, settings.lease_s, waiting):
            LOGGER.warning("%s: its lease expired; now %s", job_id, state)

    def _send_job(self, job: Dispatch) -> None:
        self._send(
            COMPUTE,
            [job.job_id, job.token],
            queue=cpu_queue(job.queue),
            task_id=job.task_id,
            argsrepr=f"{job.formula} ({job.job_id})",
        )

    def _send(self, task: str, arguments: Sequence[Any], **options: Any) -> None:
        # A job whose message cannot be sent comes back when its lease runs out.
        try:
            self._app.send_task(task, args=list(arguments), **options)
        except (KombuError, OperationalError, RedisError, OSError) as error:
            raise BrokerError(f"Redis does not take messages: {error}") from error

    def _repoke(self) -> None:
        if self._backlog.undelivered(_REPOKE_AFTER_S, limit=1) and not self._backlog.n_waiting(STORE_QUEUE):
            self._send(APPEND, [], queue=STORE_QUEUE)

    def _request_refit(self, situation: Situation) -> None:
        LOGGER.info("refit: %d RPA spectra, %d at the last one", situation.n_rpa, situation.n_rpa_fitted)
        self._backlog.roster.set_refit_state(
            state="queued",
            until_s=self._backlog.now_s() + self._settings.refit_lease_s,
            failures=situation.refit_failures,
        )
        self._send(REFIT, [situation.n_rpa], queue=TRAINER_QUEUE)


def run(
    backlog: Backlog, app: Celery, settings: Settings, *, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Lead, or wait to lead, until told to stop. A Redis that goes away is waited for."""
    me = f"{socket.gethostname()}:{os.getpid()}"
    scheduler = Scheduler(backlog, app, settings)
    leads = False
    while not should_stop():
        try:
            was, leads = leads, backlog.roster.lead(me, _LEADER_TTL_S)
            if leads and not was:
                LOGGER.info("%s leads", me)
                if n_jobs := take_over(backlog):
                    LOGGER.warning("%d jobs of an older version taken over", n_jobs)
            if leads:
                scheduler.tick()
                _feed_until(time.monotonic() + settings.tick_s, scheduler, backlog)
            else:
                time.sleep(settings.tick_s)
        except BrokerError as error:
            LOGGER.warning("%s", error)
            time.sleep(1.0)
    if leads:
        _step_down(backlog, me)


def _feed_until(deadline_s: float, scheduler: Scheduler, backlog: Backlog) -> None:
    while (left_s := deadline_s - time.monotonic()) > 0:
        if backlog.wait(left_s):
            scheduler.feed()
            time.sleep(_SHORTEST_PAUSE_S)


def _step_down(backlog: Backlog, me: str) -> None:
    try:
        backlog.roster.lead(me, 0.0)
    except BrokerError as error:
        LOGGER.warning("%s", error)
