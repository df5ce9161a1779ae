"""The one process that writes the store: takes delivered results from the outbox to the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from celery import Celery

from farm.backlog import Backlog, Finish
from farm.cost_fit import fit_to_store
from farm.cost_model import CostModel, model_key
from farm.errors import InputError, ResultRefusedError, StoreError
from farm.job import Outcome
from farm.queues import APPEND
from farm.result import Result
from farm.store import StoreWriter, open_store

LOGGER = logging.getLogger(__name__)

# Results written to disk together: one fsync for all, and a few megabytes of memory.
_BATCH = 32
_LINGER_S = 0.1


def store_waiting(backlog: Backlog, writer: StoreWriter) -> int:
    """Append what was delivered, oldest first, until nothing waits; how many jobs were finished.

    Safe to repeat and to be killed anywhere: the store refuses what it holds, and an outbox entry goes
    only after the append is on disk. What is no result, or one that the store cannot keep, ends the job as
    failed with the reason; a store that is not well raises StoreError, and the results stay in the outbox.
    """
    n_finished, lingered = 0, False
    while True:
        ids = backlog.undelivered(limit=_BATCH)
        if len(ids) < _BATCH and not lingered:
            # Where results come fast, more go to the disk together, and without a message for each.
            time.sleep(_LINGER_S)
            lingered = True
            continue
        done = sum(backlog.finish(_store(ids, backlog, writer))) if ids else 0
        if not done:
            return n_finished
        n_finished, lingered = n_finished + done, False


def _store(job_ids: Sequence[str], backlog: Backlog, writer: StoreWriter) -> list[Finish]:
    ends: dict[str, Finish] = {}
    results: dict[str, Result] = {}
    for job_id, payload in backlog.payloads(job_ids).items():
        try:
            results[job_id] = Result.unpack(payload)
        except InputError as error:
            ends[job_id] = _refused(job_id, error)
    try:
        writer.append_many(results.values())
    except (InputError, ResultRefusedError):
        # One of them; each by itself tells which.
        for job_id in list(results):
            try:
                writer.append(results[job_id])
            except (InputError, ResultRefusedError) as error:
                ends[job_id] = _refused(job_id, error)
                del results[job_id]
    _learn_costs(results, backlog)
    for job_id, result in results.items():
        ends[job_id] = Finish(
            job_id=job_id, outcome=result.outcome, reason=result.reason, cpu_s=result.cpu_s
        )
    return list(ends.values())


def _refused(job_id: str, error: Exception) -> Finish:
    LOGGER.error("%s: %s", job_id, error)
    return Finish(job_id=job_id, outcome=Outcome.FAILED, reason=str(error), cpu_s=0.0)


def _learn_costs(results: dict[str, Result], backlog: Backlog) -> None:
    """Add what the stages of complete calculations took to what is known of costs."""
    done = [job_id for job_id, result in results.items() if result.outcome is Outcome.DONE]
    priors = backlog.priors(done)
    models = backlog.cost_models() if priors else {}
    learnt: dict[str, CostModel] = {}
    for job_id, prior in priors.items():
        result = results[job_id]
        key = model_key(result.engine, result.protocol_hash)
        model = learnt.get(key) or models.get(key) or CostModel()
        learnt[key] = model.observe(prior, {usage.stage: usage.cpu_s for usage in result.stages})
    for key, model in learnt.items():
        backlog.set_cost_model(key, model)


def remember_costs(backlog: Backlog, path: Path) -> None:
    """Learn from the store what a Redis that was wiped has forgotten; for before the writer has it open."""
    if backlog.cost_models() or not path.is_file():
        return
    try:
        with open_store(path) as store:
            models = fit_to_store(store)
    except StoreError as error:
        LOGGER.warning("costs are learnt anew: %s", error)
        return
    for key, model in models.items():
        backlog.set_cost_model(key, model)


def report_counts(backlog: Backlog, writer: StoreWriter) -> None:
    """Tell the scheduler how many spectra there are."""
    counts = writer.counts()
    backlog.roster.set_stored_counts(materials=counts.materials, ipa=counts.ipa, rpa=counts.rpa)


def register(app: Celery, backlog: Backlog, writer: StoreWriter) -> None:
    """Register the task that the worker's poke calls."""

    @app.task(name=APPEND)  # type: ignore[untyped-decorator]  # celery has no types
    def append() -> None:
        if store_waiting(backlog, writer):
            report_counts(backlog, writer)
