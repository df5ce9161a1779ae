"""Work on batches in several processes, answers in order; what is in flight is bounded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from farm.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")

# 0.3 s of parsing: the backlog grows often, and hand-over costs nothing beside it.
BATCH = 100
# A process takes a second to start; so many batches are done sooner without.
ALONE = 3
# Batches in flight per process: the next one lies ready when one is done.
_AHEAD = 2


def map_batches(
    work: Callable[[list[T]], list[R]], items: Iterable[T], n_processes: int
) -> Generator[list[R], None, None]:
    """Apply ``work`` to batches of items, one after the other, and pass on its answers in their order.

    The first batches are done here; if there are more, ``n_processes`` others do the rest, where that is
    more than one. Items are taken no faster than answers. ``work``, items and answers must be picklable.

    Raises ResourceError when a process dies.
    """
    source = iter(items)
    batches = iter(lambda: list(islice(source, BATCH)), [])
    for batch in batches if n_processes < 2 else islice(batches, ALONE):
        yield work(batch)
    first = next(batches, None)
    if first is not None:
        yield from _in_processes(work, first, batches, n_processes)


def _in_processes(
    work: Callable[[list[T]], list[R]], first: list[T], rest: Iterator[list[T]], n_processes: int
) -> Iterator[list[R]]:
    # Spawned, not forked: a fork would copy the sockets of Redis, the lock that keeps an embedded Redis
    # alive, and locks that threads of numpy and of the progress bar hold just then.
    pool = ProcessPoolExecutor(
        n_processes, multiprocessing.get_context("spawn"), initializer=_end_with_parent
    )
    waiting: deque[Future[list[R]]] = deque()
    try:
        waiting.append(_submit(pool, work, first))
        for batch in rest:
            waiting.append(_submit(pool, work, batch))
            if len(waiting) > _AHEAD * n_processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ResourceError(
            "a process that parses structures died, most often for lack of memory",
            fix="Try fewer of them (--processes 1)",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, work: Callable[[list[T]], list[R]], batch: list[T]
) -> Future[list[R]]:
    # Processes start here and inherit the mask: Ctrl-C, which a terminal sends to all, is ours alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(work, batch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Nothing else ends a pool's process whose parent was killed by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, name="parent watch", daemon=True).start()
