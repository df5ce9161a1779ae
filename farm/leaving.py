"""How a role leaves that serves queues: what ends soon is finished, the rest is handed over.

::

    it stays --> it wants to leave: takes nothing, leaves when its slots are free
        |                 |
        +-----------------+--> it has to leave: what will not end within the grace is stopped at once,
                               the rest when the grace is over

Celery stops in its signal handler, where nothing else goes on; here its loop runs until the end, so that
results are taken, leases kept and the roster told.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from farm.hold import Hold

LOGGER = logging.getLogger(__name__)

# Once more is waited for what was told to stop, then it is killed, and at last this process ends itself.
_SPARE_S = 8.0
_TRIES = 2
# While Redis is away nobody else looks whether the time is over.
_LOOK_EVERY_S = 1.0
# Also a terminal that is closed; but not where that is to be survived (nohup).
_TOLD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a batch system may send some time before the end.
DRAIN = signal.SIGUSR2


def _nothing(within_s: float) -> Collection[str]:  # noqa: ARG001 - the signature
    return ()


@dataclass(frozen=True, kw_only=True)
class Stay:
    """When a role leaves by itself, and what its jobs get of the time then.

    grace_s:   running jobs may go on for so long once it has to leave
    why_pass:  why the jobs that come next are left to others, as its time is too short for them
    why_leave: given the seconds without a job: why it wants to leave; empty: it stays
    is_over:   whether it has to leave now
    doomed:    of the running jobs the ids of those that will not end within so many seconds
    """

    grace_s: float = 5.0
    why_pass: Callable[[], str] = lambda: ""
    why_leave: Callable[[float], str] = lambda _: ""
    is_over: Callable[[], bool] = lambda: False
    doomed: Callable[[float], Collection[str]] = _nothing


class Leaving:
    """Whether a Celery worker stays; to be asked from its event loop.

    To be made before Celery's worker, which takes SIGHUP for a wish to be started anew.
    """

    def __init__(self, stay: Stay) -> None:
        self._stay = stay
        self._survives_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._pid = os.getpid()
        self._must_why = self._wish = self._drains = ""
        self._is_closed = False
        self._deadline_s: float | None = None
        self._doomed: Collection[str] | None = None
        self._n_taken, self._n_overdue = -1, 0
        self._busy_s = time.monotonic()
        self._consumer: Any = None

    def listen_alone(self) -> None:
        """The same for a role that runs its tasks itself: one that is longer than the grace is broken off.

        What was begun is on disk (a refit), or done again (an append).
        """

        def told(*_: Any) -> None:
            from celery.worker import state

            if state.should_stop is None:
                signal.setitimer(signal.ITIMER_REAL, max(self._stay.grace_s, 0.01))
            state.should_stop = 0

        def overdue(*_: Any) -> None:
            from celery.exceptions import WorkerShutdown
            from celery.worker import state

            if state.active_requests:
                LOGGER.info("leaves in the middle of its task")
                raise WorkerShutdown(0)  # a SystemExit that celery takes for no fault
            # Nothing runs, and yet it is here.
            _terminate(is_last=state.should_terminate is not None)

        self._be_told(told)
        signal.signal(signal.SIGALRM, overdue)

    def listen(self, consumer: Any) -> None:
        """From now on signals are ours; main thread only.

        SIGTERM means: soon; a second one: now. SIGUSR2 means: when the jobs that run have ended.
        """
        self._consumer = consumer
        self._be_told(self._told)
        signal.signal(DRAIN, self._drain)
        signal.signal(signal.SIGALRM, self._alarm)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY_S)

    def hold(self) -> Hold | None:
        """Why no more jobs are taken, for good; None while it stays."""
        if self._deadline_s is None and self._stay.is_over():
            self._must_leave("its time is over")
        if self._deadline_s is None:
            wish = self._drains or self._stay.why_leave(self._idle_s())
            # One look with closed queues: what was on its way has arrived by then.
            self._is_closed = bool(wish and self._wish)
            self._wish = wish
        return Hold(self._reason, is_leaving=True) if self._reason else None

    def passes(self) -> Hold | None:
        """Why the jobs that come next are left to others; None when they are not."""
        reason = self._stay.why_pass()
        return Hold(reason, is_leaving=True) if reason else None

    @property
    def must(self) -> bool:
        """Whether it has to leave now."""
        return self._deadline_s is not None

    @property
    def _reason(self) -> str:
        # Apart, as a signal may come in the midst of asking for wishes.
        return self._must_why or self._wish

    def step(self) -> None:
        """Stop what has to stop, and the worker when nothing is left."""
        from celery.worker import state

        if self._deadline_s is not None:
            self._end_jobs(self._deadline_s)
        if (self._deadline_s is not None or self._is_closed) and not state.reserved_requests:
            if state.should_stop is None:
                LOGGER.info("leaves: %s", self._reason)
            state.should_stop = 0

    def end(self) -> None:
        """The worker has ended: no alarm any more."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _be_told(self, told: Callable[..., None]) -> None:
        for number in _TOLD:
            signal.signal(number, told)
        if self._survives_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _idle_s(self) -> float:
        from celery.worker import state

        n_taken = state.total_count.total()
        if state.reserved_requests or n_taken != self._n_taken:
            self._busy_s, self._n_taken = time.monotonic(), n_taken
        return time.monotonic() - self._busy_s

    def _must_leave(self, reason: str) -> None:
        self._must_why = reason
        self._deadline_s = time.monotonic() + self._stay.grace_s
        # Timers of the event loop stand still while Redis is away; this one does not.
        signal.setitimer(signal.ITIMER_REAL, self._stay.grace_s + _SPARE_S)

    def _end_jobs(self, deadline_s: float) -> None:
        from celery.worker import state

        left_s = deadline_s - time.monotonic()
        if self._doomed is None:
            self._doomed = self._stay.doomed(left_s)
        for request in tuple(state.active_requests):
            # Celery's id is that of the job and its fencing token.
            if left_s <= 0 or request.id.rpartition(":")[0] in self._doomed:
                LOGGER.info("%s: stopped, to be handed over", request.id)
                request.cancel(self._consumer.pool, emit_retry=False)

    def _told(self, number: int, _: Any) -> None:
        if os.getpid() != self._pid:
            return  # a pool process that was just forked; the worker stops it
        if self._deadline_s is None:
            self._must_leave(f"told to stop by {signal.Signals(number).name}")
        else:
            self._deadline_s = time.monotonic()

    def _drain(self, number: int, _: Any) -> None:
        self._drains = f"told by {signal.Signals(number).name} to take no more jobs"

    def _alarm(self, *_: Any) -> None:
        if self._deadline_s is not None:
            self._overdue()
        elif self._stay.is_over():
            self._must_leave("its time is over")
        else:
            signal.setitimer(signal.ITIMER_REAL, _LOOK_EVERY_S)

    def _overdue(self) -> None:
        """Neither jobs nor Redis let it end: the pool's processes are told to stop, then killed."""
        from celery.worker import state

        number = signal.SIGKILL if state.should_terminate is not None else signal.SIGQUIT
        for pid in self._pool_pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        self._n_overdue += 1
        _terminate(is_last=self._n_overdue > _TRIES)

    def _pool_pids(self) -> Collection[int]:
        try:
            return tuple(self._consumer.pool.info.get("processes", ()))
        except AttributeError:  # the pool has ended, what ends after it has not
            return ()


def _terminate(*, is_last: bool) -> None:
    """Have Celery end at once; at last without it, which may wait for a Redis that never answers."""
    from celery.worker import state

    if is_last:
        LOGGER.error("leaves without a farewell: Redis does not answer")
        os._exit(1)
    state.should_terminate = 0
    signal.setitimer(signal.ITIMER_REAL, _SPARE_S)
