"""One pw.x step as custodian sees it: a session of attempts, and the Job that starts each."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from custodian.custodian import Job

from farm.result import Correction
from workers.diagnosis import Diagnosis, Remedy
from workers.launcher import Process, Usage, launch
from workers.qe.inputs import OUTDIR, PREFIX, PwInput
from workers.qe.outputs import PwOutput


class PwSession:
    """All attempts at one step; what handlers change and validators fill in.

    pw_input:    of the next attempt
    attempt:     number of the latest attempt, from 1; names its files ``pw-<attempt>.in/out/err``
    prepare:     fills an empty output directory (the density of the ground state)
    diagnosis:   of the latest attempt that went wrong
    output:      of the attempt that was judged good
    """

    def __init__(
        self,
        step: str,
        pw_input: PwInput,
        directory: Path,
        *,
        n_electrons: int,
        ranks: int = 1,
        prepare: Callable[[Path], None] = lambda save: None,  # noqa: ARG005  # the default fills nothing
        cancelled: threading.Event | None = None,
    ) -> None:
        self.step = step
        self.pw_input = pw_input
        self.directory = directory
        self.n_electrons = n_electrons
        self.ranks = ranks
        self.prepare = prepare
        self.cancelled = cancelled or threading.Event()
        self.attempt = 0
        self.clean = True
        self.corrected = False
        self.used: list[str] = []
        self.corrections: list[Correction] = []
        self.diagnosis: Diagnosis | None = None
        self.output: PwOutput | None = None
        self._processes: list[Process] = []

    @property
    def save_directory(self) -> Path:
        """pw.x's save directory."""
        return self.directory / OUTDIR / f"{PREFIX}.save"

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
        """Write the input and start the next attempt."""
        self.attempt += 1
        self.corrected = False
        # pw.x deletes an old CRASH itself, but not when it is killed at its start.
        (self.directory / "CRASH").unlink(missing_ok=True)
        if self.clean:
            shutil.rmtree(self.directory / OUTDIR, ignore_errors=True)
            self.save_directory.mkdir(parents=True)
            self.prepare(self.save_directory)
        source = self._file("in")
        source.write_text(self.pw_input.text(), encoding="utf-8")
        process = launch(
            ["pw.x", "-inp", source.name],
            directory=self.directory,
            stdout=self._file("out"),
            stderr=self._file("err"),
            ranks=self.ranks,
        )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """Kill the running attempt with everything it started; returns when it is gone."""
        if self._processes:
            self._processes[-1].kill_group()

    def apply(self, diagnosis: Diagnosis, remedy: Remedy[PwInput], changed: PwInput) -> None:
        """Make ``changed`` the next attempt's input."""
        self.pw_input = changed
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

    def texts(self) -> dict[str, str]:
        """Standard output, CRASH and standard error of the latest attempt, by name; absent is empty."""
        files = (self._file("out"), self.directory / "CRASH", self._file("err"))
        return {path.name: _read(path) for path in files}

    def stdout(self) -> str:
        """Standard output of the latest attempt, so far."""
        return _read(self._file("out"))

    def saved_sizes(self) -> dict[str, int]:
        """Name -> bytes of the files in the save directory."""
        if not self.save_directory.is_dir():
            return {}
        return {path.name: path.stat().st_size for path in self.save_directory.iterdir()}

    def xml(self) -> str:
        """The XML of the latest attempt; empty when absent."""
        return _read(self.save_directory / "data-file-schema.xml")

    def _file(self, suffix: str) -> Path:
        return self.directory / f"pw-{self.attempt}.{suffix}"


class PwJob(Job):
    """Starts the session's attempts."""

    def __init__(self, session: PwSession) -> None:
        self.session = session

    def setup(self, directory: str = "./") -> None:
        """Nothing to set up: each attempt writes its own input."""

    def run(self, directory: str = "./") -> Process:  # noqa: ARG002  # custodian's signature
        """Start the next attempt."""
        return self.session.start()

    def postprocess(self, directory: str = "./") -> None:
        """Nothing to do: the validator has read the output."""

    def terminate(self, directory: str = "./") -> None:  # noqa: ARG002  # custodian's signature
        """Kill the attempt's whole process group; synchronous."""
        self.session.stop()

    def as_dict(self) -> dict[str, Any]:
        """What custodian logs of this job."""
        return {"step": self.session.step, "attempt": self.session.attempt}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def tried(corrections: Sequence[Correction]) -> str:
    """The remedies that were applied, in words."""
    return ", ".join(correction.remedy for correction in corrections) or "nothing"
