"""Runs of p2y and yambo: sessions of attempts, each in databases of its own.

::

    <directory>/pw.save/     pw.x' save directory as p2y shall see it
    <directory>/SAVE/        made by p2y, completed by the set-up
    <directory>/x-2000-1/    first attempt at the response along x at 2000 mRy: all of its files
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from workers.diagnosis import Diagnosis
from workers.launcher import Process, launch
from workers.sessions import Input, Output, Session, read_text
from workers.yambo.failures import diagnose_p2y, diagnose_yambo
from workers.yambo.outputs import (
    SPECTRUM_SUFFIX,
    ResponseOutput,
    SaveSize,
    SetupReport,
    mismatch,
    newest,
    parse_p2y,
    parse_response,
    parse_setup,
)
from workers.yambo.remedies import (
    P2Y_REMEDIES,
    RESPONSE_REMEDIES,
    SETUP_REMEDIES,
    P2yRun,
    ResponseRun,
    SetupRun,
)

PW_SAVE = "pw.save"
SAVE = "SAVE"
INPUT_FILE = "yambo.in"
JOB = "run"
# In ``pw.save``, and in the directory above it.
P2Y_ARGV = ("p2y", "-O", "..")
SETUP_ARGV = ("yambo",)
_INSTALL_AGAIN = "Install a YAMBO that reads what pw.x writes, and run `farm doctor --run`"


def yambo_argv(dipoles: str) -> list[str]:
    """The command of a response, in its run's directory; ``dipoles`` as in a ResponseRun."""
    jobs = f"{JOB},{dipoles}" if dipoles else JOB
    return ["yambo", "-I", "..", "-F", INPUT_FILE, "-J", jobs]


class _Session(Session[Input, Output]):
    configuration_fix = _INSTALL_AGAIN

    def launch_in(self, argv: list[str], directory: Path, *, ranks: int = 1, threads: int = 1) -> Process:
        """Start a program under mpirun, one rank as well: only then it tells an error by its exit code."""
        return launch(
            argv,
            directory=directory,
            stdout=self.file("out"),
            stderr=self.file("err"),
            ranks=ranks,
            always_mpirun=True,
            environment={"OMP_NUM_THREADS": str(threads)},
        )

    def file(self, suffix: str) -> Path:
        """Standard output or error of the latest attempt."""
        return self.directory / f"{self.step}-{self.attempt}.{suffix}"


class P2ySession(_Session[P2yRun, SaveSize]):
    """Attempts at making SAVE from ``pw.save``."""

    program = "p2y"
    remedies = P2Y_REMEDIES

    def launch_attempt(self) -> Process:
        """Remove what an earlier attempt left and start p2y."""
        shutil.rmtree(self.directory / SAVE, ignore_errors=True)
        _remove(self.directory / PW_SAVE, "l_p2y")
        return self.launch_in([*P2Y_ARGV], self.directory / PW_SAVE)

    def texts(self) -> dict[str, str]:
        """Log and standard error of the latest attempt, by name; absent is empty."""
        log = self.directory / PW_SAVE / "l_p2y"
        return {path.name: read_text(path) for path in (log, self.file("err"))}

    def recognise(self) -> Diagnosis | None:
        """By the signatures of p2y."""
        return diagnose_p2y(self.texts())

    def read(self) -> SaveSize:
        """Parse the log."""
        return parse_p2y(self.texts()["l_p2y"])

    def mismatch(self, output: SaveSize) -> str | None:
        """Numbers of the log that are not those of the band calculation."""
        return _size_mismatch(output, self.asked)


class SetupSession(_Session[SetupRun, SetupReport]):
    """Attempts at the set-up, which completes SAVE.

    rebuild: makes SAVE anew
    """

    program = "yambo"
    remedies = SETUP_REMEDIES

    def __init__(
        self,
        asked: SetupRun,
        directory: Path,
        *,
        rebuild: Callable[[], None],
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__("setup", asked, directory, cancelled=cancelled)
        self.rebuild = rebuild
        self._rebuilt = 0

    def launch_attempt(self) -> Process:
        """Remove what an earlier attempt left and start yambo without an input."""
        if self.asked.rebuilds > self._rebuilt:
            self._rebuilt = self.asked.rebuilds
            self.rebuild()
        _remove(self.directory, "r_setup")
        _remove(self.directory, "l_setup")
        _remove(self.directory / SAVE, "ndb.")
        return self.launch_in([*SETUP_ARGV], self.directory)

    def texts(self) -> dict[str, str]:
        """Report, log and standard error of the latest attempt, by name; absent is empty."""
        return _texts(self.directory, "r_setup", "l_setup", self.file("err"))

    def recognise(self) -> Diagnosis | None:
        """By the signatures of yambo."""
        return diagnose_yambo(self.texts())

    def read(self) -> SetupReport:
        """Parse the report."""
        return parse_setup(next(iter(self.texts().values())))

    def mismatch(self, output: SetupReport) -> str | None:
        """Numbers of the report that are not those of the band calculation."""
        return _size_mismatch(output.size, self.asked.save)


class ResponseSession(_Session[ResponseRun, ResponseOutput]):
    """Attempts at one response, each in a directory of its own: ``<step>-<attempt>``.

    rebuild: makes SAVE anew and sets it up
    """

    program = "yambo"
    remedies = RESPONSE_REMEDIES

    def __init__(
        self,
        step: str,
        asked: ResponseRun,
        directory: Path,
        *,
        rebuild: Callable[[], None],
        cancelled: threading.Event | None = None,
    ) -> None:
        super().__init__(step, asked, directory, cancelled=cancelled)
        self.rebuild = rebuild
        self._rebuilt = 0

    @property
    def run_directory(self) -> Path:
        """Of the latest attempt."""
        return self.directory / f"{self.step}-{self.attempt}"

    def launch_attempt(self) -> Process:
        """Write the input into an empty directory and start yambo."""
        if self.asked.rebuilds > self._rebuilt:
            self._rebuilt = self.asked.rebuilds
            self.rebuild()
        shutil.rmtree(self.run_directory, ignore_errors=True)
        self.run_directory.mkdir()
        source = self.run_directory / INPUT_FILE
        source.write_text(self.asked.asked.text(), encoding="utf-8")
        layout = self.asked.asked.layout
        return self.launch_in(
            yambo_argv(self.asked.dipoles),
            self.run_directory,
            ranks=layout.ranks,
            threads=layout.threads,
        )

    def texts(self) -> dict[str, str]:
        """Report, logs and standard error of the latest attempt, by name; absent is empty."""
        return _texts(self.run_directory, f"r-{JOB}_optics_chi", f"l-{JOB}", self.file("err"))

    def recognise(self) -> Diagnosis | None:
        """By the signatures of yambo."""
        return diagnose_yambo(self.texts())

    def read(self) -> ResponseOutput:
        """Parse report and spectrum."""
        spectrum = read_text(self.run_directory / f"o-{JOB}{SPECTRUM_SUFFIX}")
        return parse_response(next(iter(self.texts().values())), spectrum)

    def mismatch(self, output: ResponseOutput) -> str | None:
        """What the output lacks of the input."""
        return mismatch(output, self.asked.asked)


def _texts(directory: Path, report: str, logs: str, errors: Path) -> dict[str, str]:
    """The newest report first, then every log: several ranks write theirs into ``LOG``."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    name = newest(names, report) or report
    paths = [directory / name, *sorted(directory.glob(f"{logs}*")), *sorted(directory.glob(f"LOG/{logs}*"))]
    return {path.name: read_text(path) for path in (*paths, errors)}


def _size_mismatch(found: SaveSize, asked: P2yRun) -> str | None:
    pairs = (
        ("k-points", found.n_kpoints, asked.n_kpoints),
        ("bands", found.n_bands, asked.n_bands),
        ("electrons", round(found.n_electrons, 4), float(asked.n_electrons)),
        ("symmetry operations", found.n_symmetries, asked.n_symmetries),
    )
    for name, number, expected in pairs:
        if number != expected:
            return f"{name}: SAVE holds {number}, asked for {expected}"
    return None


def _remove(directory: Path, stem: str) -> None:
    for path in directory.glob(f"{stem}*"):
        path.unlink()
