"""The loop that keeps the farm fed: dispatch in order, reap dead leases, trigger refits.

:func:`decide` is pure; :func:`tick` reads, decides, acts. One scheduler leads; others wait for its
lock to expire and take over.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from celery import Celery

from farm.backlog import Backlog, unfinished
from farm.errors import BrokerError
from farm.job import Engine
from farm.queues import APPEND, COMPUTE, REFIT, STORE_QUEUE, TRAINER_QUEUE, cpu_queue
from farm.settings import Settings

LOGGER = logging.getLogger(__name__)

_LEADER_TTL_S = 15.0
# A delivered result nobody stored by then: its message was lost, or the writer was away.
_REPOKE_AFTER_S = 5.0
_REFIT_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the scheduler knows at a tick.

    slots:          jobs the living workers can run at a time
    trainers:       living trainers
    n_unfinished:   jobs not in a final state
    n_rpa:          RPA spectra in the store
    n_rpa_fitted:   RPA spectra at the last finished refit
    refit_busy:     a refit is queued or running and its trainer is alive
    refit_failures: refits that died in a row since the last finished one
    engines:        that living workers compute with
    """

    slots: int
    trainers: int
    n_unfinished: int
    n_rpa: int
    n_rpa_fitted: int
    refit_busy: bool
    refit_failures: int
    engines: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do: how many messages may wait in the queue, and whether to ask for a refit."""

    window: int
    refit: bool


def decide(situation: Situation, settings: Settings) -> Plan:
    """Pure: the window is one message a slot, so that order is exact up to the jobs in flight."""
    refit = situation.trainers > 0 and refit_due(situation, settings)
    return Plan(window=max(1, situation.slots), refit=refit)


def refit_due(situation: Situation, settings: Settings) -> bool:
    """True when enough RPA spectra arrived, or when nothing more will come and some are new."""
    if situation.refit_busy or situation.refit_failures >= _REFIT_ATTEMPTS:
        return False
    if situation.n_rpa < settings.refit_min_spectra or situation.n_rpa <= situation.n_rpa_fitted:
        return False
    grown = situation.n_rpa >= situation.n_rpa_fitted * (1 + settings.refit_growth)
    return grown or situation.n_unfinished == 0


def observe(backlog: Backlog) -> Situation:
    """Read the situation from Redis."""
    refit = backlog.refit_state()
    busy = refit.get("state") in ("queued", "running")
    alive = busy and float(refit.get("until_s", 0)) > backlog.now_s()
    workers = backlog.workers()
    return Situation(
        engines=frozenset(
            engine
            for worker in workers
            if worker["role"] == "worker"
            for engine in worker.get("engines", [Engine.NATIVE])
        ),
        slots=sum(int(worker["slots"]) for worker in workers),
        trainers=sum(worker["role"] == "trainer" for worker in workers),
        n_unfinished=unfinished(backlog.counts()),
        n_rpa=backlog.stored_counts().get("rpa", 0),
        n_rpa_fitted=int(refit.get("n_rpa", 0)),
        refit_busy=alive,
        # A refit whose trainer fell silent counts as one more failure until somebody finishes.
        refit_failures=int(refit.get("failures", 0)) + (1 if busy and not alive else 0),
    )


def is_idle(backlog: Backlog, settings: Settings, *, with_trainer: bool = True) -> bool:
    """True when nothing is left to do: no unfinished job and, where a trainer is expected, no refit."""
    situation = observe(backlog)
    refit = with_trainer and (situation.refit_busy or refit_due(situation, settings))
    return situation.n_unfinished == 0 and not refit


def tick(backlog: Backlog, app: Celery, settings: Settings) -> None:
    """One round: bring back what was lost, hand out what is next, ask for a refit when due."""
    waiting = backlog.waiting_task_ids(cpu_queue("native")) + backlog.waiting_task_ids(cpu_queue("yambo"))
    for job_id, state in backlog.reap(settings.max_attempts, settings.lease_s, waiting):
        LOGGER.warning("%s: its lease expired; now %s", job_id, state)
    situation = observe(backlog)
    plan = decide(situation, settings)
    for job in backlog.dispatch(plan.window, settings.lease_s, situation.engines or {Engine.NATIVE}):
        app.send_task(
            COMPUTE,
            args=[job.job_id, job.token],
            task_id=job.task_id,
            queue=cpu_queue(job.engine),
            argsrepr=f"{job.formula} ({job.job_id})",
        )
    _repoke(backlog, app)
    if plan.refit:
        _request_refit(backlog, app, settings, situation)


def _repoke(backlog: Backlog, app: Celery) -> None:
    overdue = backlog.undelivered(_REPOKE_AFTER_S)
    if not overdue or backlog.waiting_task_ids(STORE_QUEUE):
        return  # the writer still has messages to work through
    for job_id in overdue:
        app.send_task(APPEND, args=[job_id], queue=STORE_QUEUE)


def _request_refit(backlog: Backlog, app: Celery, settings: Settings, situation: Situation) -> None:
    LOGGER.info("refit: %d RPA spectra, %d at the last one", situation.n_rpa, situation.n_rpa_fitted)
    backlog.set_refit_state(
        state="queued",
        until_s=backlog.now_s() + settings.refit_lease_s,
        failures=situation.refit_failures,
    )
    app.send_task(REFIT, args=[situation.n_rpa], queue=TRAINER_QUEUE)


def run(
    backlog: Backlog, app: Celery, settings: Settings, *, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Tick until told to stop. A Redis that goes away is waited for."""
    me = f"{socket.gethostname()}:{os.getpid()}"
    while not should_stop():
        try:
            if backlog.lead(me, _LEADER_TTL_S):
                tick(backlog, app, settings)
        except BrokerError as error:
            LOGGER.warning("%s", error)
            time.sleep(1.0)
        time.sleep(settings.tick_s)
