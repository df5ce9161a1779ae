"""One pw.x step: a session of attempts, each with files of its own."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workers.diagnosis import Diagnosis
from workers.launcher import Process, launch
from workers.qe.failures import diagnose
from workers.qe.inputs import OUTDIR, PREFIX, PwInput
from workers.qe.outputs import PwOutput, mismatch, parse_pw, truncated
from workers.qe.remedies import REMEDIES
from workers.sessions import Session, read_text

# pw.x looks for the request after every k-point and iteration.
SOFT_STOP_S = 20.0


class PwSession(Session[PwInput, PwOutput]):
    """Attempts at one pw.x step; they name their files ``pw-<attempt>.in/out/err``.

    prepare:       fills an empty output directory (the density of the ground state)
    wants_density: the running attempt is to be stopped softly, so that the next can start from it
    """

    program = "pw.x"
    configuration_fix = "Install the pseudopotentials and pw.x again"
    remedies = REMEDIES

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
        super().__init__(step, pw_input, directory, cancelled=cancelled)
        self.n_electrons = n_electrons
        self.ranks = ranks
        self.prepare = prepare
        self.wants_density = False

    @property
    def save_directory(self) -> Path:
        """pw.x's save directory."""
        return self.directory / OUTDIR / f"{PREFIX}.save"

    def launch_attempt(self) -> Process:
        """Write the input and start pw.x."""
        # pw.x deletes an old CRASH itself, but not when it is killed at its start.
        (self.directory / "CRASH").unlink(missing_ok=True)
        if self.clean:
            shutil.rmtree(self.directory / OUTDIR, ignore_errors=True)
            self.save_directory.mkdir(parents=True)
            self.prepare(self.save_directory)
        source = self._file("in")
        source.write_text(self.asked.text(), encoding="utf-8")
        return launch(
            ["pw.x", "-inp", source.name],
            directory=self.directory,
            stdout=self._file("out"),
            stderr=self._file("err"),
            ranks=self.ranks,
        )

    def end_attempt(self) -> None:
        """End the running attempt; with its density on disk when that is still wanted."""
        if self.wants_density and self.running:
            request = self.directory / OUTDIR / f"{PREFIX}.EXIT"
            request.touch()
            with suppress(subprocess.TimeoutExpired):
                self._processes[-1].wait(SOFT_STOP_S)
            request.unlink(missing_ok=True)
        self.wants_density = False
        self.stop()

    def recognise(self) -> Diagnosis | None:
        """By the signatures of pw.x."""
        return diagnose(self.texts())

    def read(self) -> PwOutput:
        """Parse standard output and XML of the latest attempt."""
        return parse_pw(self.stdout(), self.xml())

    def mismatch(self, output: PwOutput) -> str | None:
        """Numbers that are not those asked for, or files that are too short."""
        wrong = mismatch(output, self.asked, self.n_electrons)
        return wrong or truncated(output, self.saved_sizes())

    def has_printed(self) -> bool:
        """Whether there is anything on standard output."""
        return bool(self.stdout().strip())

    def texts(self) -> dict[str, str]:
        """Standard output, CRASH and standard error of the latest attempt, by name; absent is empty."""
        files = (self._file("out"), self.directory / "CRASH", self._file("err"))
        return {path.name: read_text(path) for path in files}

    def stdout(self) -> str:
        """Standard output of the latest attempt, so far."""
        return read_text(self._file("out"))

    def saved_sizes(self) -> dict[str, int]:
        """Name -> bytes of the files in the save directory."""
        if not self.save_directory.is_dir():
            return {}
        return {path.name: path.stat().st_size for path in self.save_directory.iterdir()}

    def xml(self) -> str:
        """The XML of the latest attempt; empty when absent."""
        return read_text(self.save_directory / "data-file-schema.xml")

    def _file(self, suffix: str) -> Path:
        return self.directory / f"pw-{self.attempt}.{suffix}"
