"""The one process that writes the store: takes delivered results from the outbox to the disk."""

from __future__ import annotations

import logging
from pathlib import Path

from celery import Celery

from farm.backlog import Backlog
from farm.errors import InputError
from farm.job import Outcome
from farm.queues import APPEND
from farm.result import Result
from farm.store import Store, StoreWriter, open_store

LOGGER = logging.getLogger(__name__)


def store_result(job_id: str, backlog: Backlog, writer: StoreWriter) -> bool:
    """Append one delivered result and finish its job; False when there was nothing to do.

    Safe to repeat: the store refuses what it holds, and the outbox entry goes only after the
    append is on disk. A payload that is no result ends the job as failed instead of looping.
    """
    payload = backlog.outbox(job_id)
    if payload is None:
        return False
    try:
        result = Result.unpack(payload)
    except InputError as error:
        LOGGER.error("%s: %s", job_id, error)
        return backlog.finish(job_id, Outcome.FAILED, str(error), 0.0)
    writer.append(result)
    backlog.finish(job_id, result.outcome, result.reason, result.cpu_s)
    return True


class CountReporter:
    """Tells the scheduler how many spectra there are, through a reader of the same store."""

    def __init__(self, path: Path, backlog: Backlog) -> None:
        self._path = path
        self._backlog = backlog
        self._store: Store | None = None  # the file is made with the first result

    def report(self) -> None:
        """Count what is committed and say it."""
        if self._store is None:
            if not self._path.is_file():
                return
            self._store = open_store(self._path)
        self._store.refresh()
        counts = self._store.counts()
        self._backlog.set_stored_counts(materials=counts.materials, ipa=counts.ipa, rpa=counts.rpa)

    def close(self) -> None:
        """Close the reader."""
        if self._store is not None:
            self._store.close()


def register(app: Celery, backlog: Backlog, writer: StoreWriter, reporter: CountReporter) -> None:
    """Register the task that the worker's poke calls."""

    @app.task(name=APPEND)  # type: ignore[untyped-decorator]  # celery has no types
    def append(job_id: str) -> None:
        if store_result(job_id, backlog, writer):
            reporter.report()
