"""A thread beside a running job that keeps its lease, and learns when it is taken away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from farm.backlog import Backlog
from farm.errors import BrokerError
from farm.repeated import repeated
from farm.stage import Stage

LOGGER = logging.getLogger(__name__)

# Heartbeats in one lease: one or two may be lost on the way.
_HEARTBEATS_PER_LEASE = 4


@dataclass
class Heartbeat:
    """The shared state of a running job and the thread that keeps its lease."""

    stage: str = ""
    lost: threading.Event = field(default_factory=threading.Event)

    def progress(self, stage: Stage, text: str) -> None:
        """What the job does now; told with the next heartbeat."""
        self.stage = text or stage.value


@contextmanager
def heartbeat(backlog: Backlog, job_id: str, token: str, lease_s: float) -> Iterator[Heartbeat]:
    """Renew the lease of a running job from a thread; ``lost`` is set when the job is taken away."""
    beat = Heartbeat()

    def renew() -> bool:
        try:
            if not backlog.renew(job_id, token, lease_s, beat.stage):
                beat.lost.set()
        except BrokerError as error:
            # Redis may come back within the lease; the commit is fenced in any case.
            LOGGER.warning("%s: heartbeat: %s", job_id, error)
        return not beat.lost.is_set()

    with repeated(renew, lease_s / _HEARTBEATS_PER_LEASE, name=f"heartbeat {job_id}"):
        yield beat
