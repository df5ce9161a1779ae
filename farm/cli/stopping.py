"""Ctrl-C and SIGTERM between two batches: what is done stays, and the command ends in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def caught_signals(on_first: Callable[[], None] | None = None) -> Iterator[list[int]]:
    """The signals that came and ask to stop; a second one interrupts at once.

    on_first: called when the first one comes, to end what waits
    """
    caught: list[int] = []

    def take(number: int, _: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        if on_first is not None:
            on_first()

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
