"""Running a program until what it leaves can be read: watched, cancelled, started again when killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from farm.errors import CalculationError, LeaseLostError
from workers.launcher import Usage, launch

T = TypeVar("T")

POLL_S = 0.05

# What was killed, or ended without an answer or a complaint, is tried again: the material is not to blame.
ATTEMPTS = 4


@dataclass(frozen=True, kw_only=True)
class Attempted(Generic[T]):
    """What all attempts together came to.

    value:  what was read; None: nothing could be
    reason: why not, in one sentence
    usage:  of all attempts, good or not
    """

    value: T | None
    reason: str
    usage: Usage


def run_attempts(
    name: str,
    argv: list[str],
    directory: Path,
    output: Path,
    read: Callable[[], T],
    cancelled: threading.Event,
) -> Attempted[T]:
    """Run ``argv`` in ``directory`` until ``read`` takes what it left in ``output``.

    ``read`` raises CalculationError where that is unusable. Standard output and error of each attempt go
    to ``<name>-<attempt>.out`` and ``.err``.

    Raises LeaseLostError when ``cancelled`` is set, MissingProgramError where there is no such program.
    """
    usage, reason = Usage(), ""
    for attempt in range(1, ATTEMPTS + 1):
        output.unlink(missing_ok=True)
        texts = [directory / f"{name}-{attempt}.{suffix}" for suffix in ("out", "err")]
        process = launch(argv, directory=directory, stdout=texts[0], stderr=texts[1])
        try:
            while process.poll() is None:
                if cancelled.is_set():
                    raise LeaseLostError(f"{name}: stopped, the job is no longer this worker's")
                time.sleep(POLL_S)
        finally:
            process.kill_group()
        usage += process.usage
        try:
            return Attempted(value=read(), reason="", usage=usage)
        except CalculationError as error:
            reason = f"{error.message}; exit code {process.returncode}; {_last_line(texts)}"
        if process.returncode > 0:
            break  # it said what is wrong, and would say it again
    return Attempted(value=None, reason=reason, usage=usage)


def _last_line(texts: list[Path]) -> str:
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in texts)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
