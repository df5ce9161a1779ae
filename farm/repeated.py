"""Something that is done again and again beside something else, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(action: Callable[[], bool], every_s: float, *, name: str) -> Iterator[None]:
    """Do it every so many seconds for as long as the context lasts, or until it says False.

    The first time comes after the first pause. Errors are the action's to deal with: one ends the thread.
    """
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(every_s):
            if not action():
                return

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
