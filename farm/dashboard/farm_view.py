"""A farm as the pages see it: its settings, its backlog, its store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from farm.backlog import Backlog, JobView
from farm.dashboard.catalogue import Catalogue
from farm.errors import BrokerError, StoreError
from farm.job import JobState
from farm.overview import gather
from farm.settings import Settings
from farm.store import Store, open_store

# As old may a moment be that a page is made from.
_FRESH_S = 1.0
_NEXT_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The backlog at one moment.

    document:  of ``farm status``
    running:   the longest running first
    following: the first of the order
    now_s:     Redis' clock
    """

    document: dict[str, Any]
    running: list[JobView]
    following: list[JobView]
    now_s: float


class Farm:
    """What the routers get as ``request.app.state.farm``; used from many threads.

    backlog:   raises BrokerError when Redis does not answer
    catalogue: what the store holds, never waited for
    """

    def __init__(self, settings: Settings, backlog: Backlog) -> None:
        self.settings = settings
        self.backlog = backlog
        self.catalogue = Catalogue(settings.store_path)
        self._moment: tuple[float, Moment | BrokerError] | None = None
        self._gathering = threading.Lock()
        self._store: Store | None = None
        self._reading = threading.Lock()

    def document(self) -> dict[str, Any]:
        """The document of ``farm status``; as :meth:`moment`."""
        return self.moment().document

    def moment(self) -> Moment:
        """How the backlog stands, a second ago at most: many may look at the same time.

        Raises BrokerError when Redis does not answer.
        """
        with self._gathering:
            if self._moment is None or time.monotonic() - self._moment[0] > _FRESH_S:
                found = self._tried()
                # Those who waited get the same: one after another they would wait longer and longer.
                self._moment = (time.monotonic(), found)
            found = self._moment[1]
        if isinstance(found, BrokerError):
            raise BrokerError(found.message, fix=found.fix) from found
        return found

    def forget_moment(self) -> None:
        """After something was done: the next page shows it."""
        with self._gathering:
            self._moment = None

    @contextmanager
    def store(self) -> Iterator[Store | None]:
        """The store as it is now, for one thread at a time; None where there is none yet.

        It stays open: opening a long one takes longer than reading a row. Raises StoreError.
        """
        with self._reading:
            if not self.settings.store_path.is_file():
                yield None
                return
            if self._store is None:
                self._store = open_store(self.settings.store_path)
            try:
                self._store.refresh()
                yield self._store
            except StoreError:
                self._store.close()
                self._store = None
                raise

    def close(self) -> None:
        """Let go of the store."""
        self.catalogue.close()
        with self._reading:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _tried(self) -> Moment | BrokerError:
        try:
            return self._gather()
        except BrokerError as error:
            return error

    def _gather(self) -> Moment:
        document = gather(self.backlog, self.settings, stored=self._stored_counts())
        running = [job for job in self.backlog.leased() if job.state is JobState.RUNNING]
        return Moment(
            document=document,
            running=sorted(running, key=lambda job: (job.started_ms or job.changed_ms, job.job_id)),
            following=list(self.backlog.jobs([JobState.READY], limit=_NEXT_SHOWN)),
            now_s=self.backlog.now_s(),
        )

    def _stored_counts(self) -> dict[str, int] | None:
        # Opening a long store takes as long as all the rest.
        if self.catalogue.snapshot is not None:
            return self.catalogue.snapshot.counts
        # One that cannot be read is told of beside the jobs, not in place of them.
        return {"materials": 0, "ipa": 0, "rpa": 0} if self.catalogue.error else None
