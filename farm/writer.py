"""The one process that writes the store: takes delivered results from the outbox to the disk."""

from __future__ import annotations

import logging

from celery import Celery

from farm.backlog import Backlog
from farm.errors import InputError, ResultRefusedError
from farm.job import Outcome
from farm.queues import APPEND
from farm.result import Result
from farm.store import StoreWriter

LOGGER = logging.getLogger(__name__)


def store_result(job_id: str, backlog: Backlog, writer: StoreWriter) -> bool:
    """Append one delivered result and finish its job; False when there was nothing to do.

    Safe to repeat: the store refuses what it holds, and the outbox entry goes only after the
    append is on disk. What is no result, or one that the store cannot keep, ends the job as failed
    with the reason; a store that is not well raises StoreError, and the result stays in the outbox.
    """
    payload = backlog.outbox(job_id)
    if payload is None:
        return False
    try:
        result = Result.unpack(payload)
        writer.append(result)
    except (InputError, ResultRefusedError) as error:
        LOGGER.error("%s: %s", job_id, error)
        return backlog.finish(job_id, Outcome.FAILED, str(error), 0.0)
    return backlog.finish(job_id, result.outcome, result.reason, result.cpu_s)


def report_counts(backlog: Backlog, writer: StoreWriter) -> None:
    """Tell the scheduler how many spectra there are."""
    counts = writer.counts()
    backlog.set_stored_counts(materials=counts.materials, ipa=counts.ipa, rpa=counts.rpa)


def register(app: Celery, backlog: Backlog, writer: StoreWriter) -> None:
    """Register the task that the worker's poke calls."""

    @app.task(name=APPEND)  # type: ignore[untyped-decorator]  # celery has no types
    def append(job_id: str) -> None:
        if store_result(job_id, backlog, writer):
            report_counts(backlog, writer)
