"""All attempts at one run of a program: what is asked of the next one, and what became of the last."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from farm.errors import CalculationError
from farm.free_disk import free_disk_bytes
from farm.result import Correction
from workers.diagnosis import Diagnosis, Evidence, Remedy, RunOutcome, Severity, next_remedy
from workers.launcher import Process, Usage

Input = TypeVar("Input")
Output = TypeVar("Output")

# Below this an incomplete output is blamed on the disk.
LEAST_FREE_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Attempt(Generic[Input]):
    """What one attempt was given, and whether it started from an empty output directory."""

    asked: Input
    clean: bool


class Session(ABC, Generic[Input, Output]):
    """One run of a program until it is good; what handlers change and validators fill in.

    program:     as users know it
    configuration_fix: what to do where it, or a file it needs, is not as it should be
    remedies:    diagnosis name -> what to try, in order
    asked:       input of the next attempt
    attempt:     number of the latest attempt, from 1
    attempts:    all that were started, the latest last
    clean:       the next attempt starts from an empty output directory
    corrected:   what became of the latest attempt is known already, and acted upon
    diagnosis:   of the latest attempt that went wrong
    output:      of the attempt that was judged good
    """

    program: str
    configuration_fix: str
    remedies: Mapping[str, Sequence[Remedy[Input]]]

    def __init__(
        self, step: str, asked: Input, directory: Path, *, cancelled: threading.Event | None = None
    ) -> None:
        self.step = step
        self.asked = asked
        self.directory = directory
        self.cancelled = cancelled or threading.Event()
        self.attempt = 0
        self.attempts: list[Attempt[Input]] = []
        self.clean = True
        self.corrected = False
        self.used: list[str] = []
        self.corrections: list[Correction] = []
        self.diagnosis: Diagnosis | None = None
        self.output: Output | None = None
        self._processes: list[Process] = []

    @abstractmethod
    def launch_attempt(self) -> Process:
        """Write the input of attempt ``self.attempt`` and start it."""

    @abstractmethod
    def recognise(self) -> Diagnosis | None:
        """The failure that the texts of the latest attempt show, or None."""

    @abstractmethod
    def read(self) -> Output:
        """Parse what the latest attempt left. Raises CalculationError naming what is missing."""

    @abstractmethod
    def mismatch(self, output: Output) -> str | None:
        """What an output lacks of what was asked for, in words; None when all agrees."""

    def has_printed(self) -> bool:
        """Whether the latest attempt has said anything yet."""
        return True

    @property
    def running(self) -> bool:
        """Whether an attempt is running now."""
        return bool(self._processes) and self._processes[-1].poll() is None

    @property
    def process_ids(self) -> list[int]:
        """Process ids of all attempts so far."""
        return [process.pid for process in self._processes]

    @property
    def usage(self) -> Usage:
        """What all attempts cost together."""
        return sum((process.usage for process in self._processes), start=Usage())

    def start(self) -> Process:
        """Start the next attempt."""
        self.attempt += 1
        self.corrected = False
        process = self.launch_attempt()
        self.attempts.append(Attempt(asked=self.asked, clean=self.clean))
        self._processes.append(process)
        return process

    def end_attempt(self) -> None:
        """End the running attempt when a monitor asks for it; returns when it is gone."""
        self.stop()

    def stop(self) -> None:
        """Kill the running attempt with everything it started; returns when it is gone."""
        if self._processes:
            self._processes[-1].kill_group()

    def remedy(self, diagnosis: Diagnosis) -> tuple[Remedy[Input], Input] | None:
        """The next remedy for a diagnosis with the changed input; None: give up."""
        return next_remedy(self.remedies, diagnosis, self.used, self.asked)

    def apply(self, diagnosis: Diagnosis, remedy: Remedy[Input], changed: Input) -> None:
        """Make ``changed`` the next attempt's input."""
        self.asked = changed
        self.clean = remedy.clean
        self.corrected = True
        self.used.append(remedy.name)
        self.corrections.append(
            Correction(
                step=self.step,
                diagnosis=diagnosis.name,
                evidence=str(diagnosis.evidence),
                remedy=remedy.name,
                changes_physics=remedy.changes_physics,
            )
        )

    def judge(self) -> Diagnosis | None:
        """Compare what the latest attempt left with what was asked for; keep it when it is good."""
        self.output = None
        try:
            output = self.read()
            wrong = self.mismatch(output)
        except CalculationError as error:
            wrong = error.message
        if wrong is None:
            self.output = output
            return None
        free = free_disk_bytes(self.directory)
        if free < LEAST_FREE_BYTES:
            evidence = Evidence(text=f"{wrong}; {free // 2**20} MB free")
            return Diagnosis(name="disk_full", evidence=evidence, severity=Severity.MACHINE)
        return Diagnosis(
            name="incomplete_output", evidence=Evidence(text=wrong), outcome=RunOutcome.INCOMPLETE
        )

    def tried(self) -> str:
        """The remedies that were applied, in words."""
        return ", ".join(correction.remedy for correction in self.corrections) or "nothing"


def read_text(path: Path) -> str:
    """The text of a file; empty when absent."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
