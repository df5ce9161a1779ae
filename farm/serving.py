"""Run a Celery worker in this process: the frame that the writer, cpu workers and trainer share."""

from __future__ import annotations

import logging
import os
import signal
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from farm.backlog import Backlog
from farm.errors import BrokerError
from farm.hold import Hold
from farm.leaving import DRAIN, Leaving, Stay
from farm.repeated import repeated

LOGGER = logging.getLogger(__name__)

REPORT_EVERY_S = 2.0
# How often a worker with pool processes looks whether it has to leave.
_STEP_EVERY_S = 0.25
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
    queues: Sequence[str],
    slots: int | None,
    on_leave: Callable[[], object] = lambda: None,
    why_not: Callable[[], Hold | None] = lambda: None,
    state: Callable[[], Mapping[str, Any]] = dict,
    stay: Stay | None = None,
) -> None:
    """Serve Celery queues until told to stop, or until it is time to leave.

    slots:    number of pool processes, jobs at a time; None runs tasks in this very process
    on_leave: called after the last task, before the process ends
    why_not:  asked every two seconds; while it gives a reason, no new tasks are taken
    state:    asked as often: what ``farm status`` lists for this worker
    stay:     when it leaves by itself (only with pool processes), and how it stops
    """
    # Celery warns whoever runs as root, as containers do; there is nothing to run pickles for.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    # Pool processes end by SIGQUIT, and survive a SIGTERM to all. Read by celery on import.
    os.environ.setdefault("REMAP_SIGTERM", "SIGQUIT")
    presence = _Presence(backlog, name, slots or 0, state)
    gate = _Gate(queues)
    leaving = Leaving(stay or Stay())
    beside = ExitStack()

    def look(consumer: Any) -> None:
        held = leaving.hold() or why_not() or leaving.passes()
        gate.set(consumer, is_open=held is None)
        presence.tell(held)

    def step(consumer: Any) -> None:
        if leaving.must:
            gate.set(consumer, is_open=False)
        leaving.step()

    def ready(sender: Any, **_: Any) -> None:
        if slots:
            leaving.listen(sender)
            sender.timer.call_repeatedly(_STEP_EVERY_S, step, (sender,))
            sender.timer.call_repeatedly(REPORT_EVERY_S, look, (sender,))
        else:
            leaving.listen_alone()
            # Its loop stands still while a task runs.
            beside.enter_context(repeated(presence.tell, REPORT_EVERY_S, name="presence"))
        look(sender)

    def leave() -> None:
        try:
            on_leave()
            backlog.roster.forget_worker(name)
        except BrokerError as error:
            LOGGER.warning("%s", error)

    signals.worker_ready.connect(ready, weak=False)
    signals.worker_process_init.connect(_ignore_what_is_told_to_all, weak=False)
    # Logging is set up by the role: celery must not replace it.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    worker = _celery_worker(app, name, queues, slots)
    try:
        worker.start()
    finally:
        beside.close()
        leaving.end()
        leave()  # also after a cold shutdown, which leaves by SystemExit
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


def _celery_worker(app: Celery, name: str, queues: Sequence[str], slots: int | None) -> Any:
    return app.Worker(
        hostname=name,
        queues=list(queues),
        pool="prefork" if slots else "solo",
        concurrency=slots or 1,
        optimization="fair",
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )


def _ignore_what_is_told_to_all(**_: Any) -> None:
    """A terminal or a batch system tells all processes: those of the pool are stopped by their worker."""
    for number in (signal.SIGHUP, DRAIN):
        signal.signal(number, signal.SIG_IGN)


class _Presence:
    """What the roster has of a role."""

    def __init__(
        self, backlog: Backlog, name: str, slots: int, state: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._backlog, self._name, self._state = backlog, name, state
        self._description = {"role": name.split("@")[0], "slots": slots}

    def tell(self, held: Hold | None = None) -> bool:
        """Say that it is there, and why it takes no tasks; always True."""
        try:
            said = {**self._description, **self._state()}
            self._backlog.roster.report_worker(self._name, said, REPORT_EVERY_S * _REPORTS_MISSED, held)
        except BrokerError as error:
            LOGGER.warning("%s", error)
        return True


class _Gate:
    """Whether a worker takes tasks from its queues; what it has taken it finishes."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._is_open = True

    def set(self, consumer: Any, *, is_open: bool) -> None:
        """Open or close, where that is news. ``consumer`` is Celery's."""
        if is_open == self._is_open:
            return
        LOGGER.warning("takes %s jobs", "new" if is_open else "no new")
        for queue in self._queues:
            if is_open:
                consumer.add_task_queue(queue)
            else:
                consumer.cancel_task_queue(queue)
        self._is_open = is_open
