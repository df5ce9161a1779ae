"""Run a Celery worker in this process: the frame that the writer, cpu workers and trainer share."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from farm.backlog import Backlog
from farm.errors import BrokerError

LOGGER = logging.getLogger(__name__)

_REPORT_EVERY_S = 2.0
# A worker that missed this many reports is no longer listed.
_REPORTS_MISSED = 5


def worker_name(role: str) -> str:
    """``<role>@<host>.<pid>``: unique while the process lives."""
    return f"{role}@{socket.gethostname()}.{os.getpid()}"


def serve(
    app: Celery,
    backlog: Backlog,
    *,
    name: str,
    queue: str,
    slots: int | None,
    also: Sequence[str] = (),
    on_leave: Callable[[], object] = lambda: None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Serve one queue until told to stop.

    also:     further queues
    slots:    number of pool processes, jobs at a time; None runs tasks in this very process
    on_leave: called after the last task, before the process ends
    state:    what ``farm status`` lists for this worker
    """
    # Celery warns whoever runs as root, as containers do; there is nothing to run pickles for.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # SIGTERM means: finish what ends within seconds, hand the rest over. Read by celery on import.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    description = {"role": name.split("@")[0], "slots": slots or 0, **(state or {})}

    def report() -> None:
        try:
            backlog.report_worker(name, description, _REPORT_EVERY_S * _REPORTS_MISSED)
        except BrokerError as error:
            LOGGER.warning("%s", error)

    def ready(sender: Any, **_: Any) -> None:
        report()
        sender.timer.call_repeatedly(_REPORT_EVERY_S, report)

    def leave() -> None:
        try:
            on_leave()
            backlog.forget_worker(name)
        except BrokerError as error:
            LOGGER.warning("%s", error)

    signals.worker_ready.connect(ready, weak=False)
    # Logging is set up by the role: celery must not replace it.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    worker = app.Worker(
        hostname=name,
        queues=[queue, *also],
        pool="prefork" if slots else "solo",
        concurrency=slots or 1,
        optimization="fair",
        task_events=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    try:
        worker.start()
    finally:
        leave()  # also after a cold shutdown, which leaves by SystemExit
    if worker.exitcode:
        raise SystemExit(worker.exitcode)
