"""pp.x as a process: killed, failing, silent, cancelled, absent."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from farm.errors import CalculationError, LeaseLostError, MissingProgramError
from workers.attempts import ATTEMPTS
from workers.potentials import POTENTIAL_FILE, attempt_local_potential, pp_input, run_local_potential
from workers.reduced_basis.potential import read_local_potential

GOOD = """
       1       1       2       1       1       2       1       1
     1        4.0 0 0 0 0 0
       69.0  4.0  30.0     1
   1   He    2.00
   1       0.0    0.0    0.0    1
  1.0E+00 -2.0E+00
"""


@pytest.fixture
def save(tmp_path: Path) -> Path:
    """A save directory that nobody reads."""
    directory = tmp_path / "a path with blanks" / "Si.save"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


@pytest.fixture
def pp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pp.x first on PATH, to be written."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "pp.x"


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\necho once >> runs\n{text}\n")
    path.chmod(0o755)


def runs(job: Path) -> int:
    return len((job / "runs").read_text().splitlines())


def writes_good(job: Path) -> str:
    (job.parent / "good.dat").write_text(GOOD)
    return f"cp '{job.parent / 'good.dat'}' {POTENTIAL_FILE}"


def test_input_says_what_is_wanted() -> None:
    text = pp_input("Si")
    assert text.startswith("&INPUTPP\n")
    assert text.rstrip().endswith("/")
    for line in ("prefix = 'Si'", "outdir = './out/'", f"filplot = '{POTENTIAL_FILE}'", "plot_num = 1"):
        assert text.count(line) == 1


def test_it_runs_once_on_the_ground_state(pp: Path, save: Path, job: Path) -> None:
    script(pp, f'test "$1" = -inp && cp "$2" seen.in && ls out > seen.ls && {writes_good(job)}')
    usage = run_local_potential(save, job, threading.Event())
    assert runs(job) == 1
    assert usage.wall_s > 0
    assert (job / "seen.in").read_text() == pp_input("Si")
    assert (job / "seen.ls").read_text().split() == ["Si.save"]
    assert read_local_potential(job / POTENTIAL_FILE).tolist() == [[[0.5, -1.0]]]


def test_it_runs_again_in_the_same_directory(pp: Path, save: Path, job: Path) -> None:
    script(pp, writes_good(job))
    for n in (1, 2):
        run_local_potential(save, job, threading.Event())
        assert runs(job) == n


def test_a_killed_run_is_tried_once_more(pp: Path, save: Path, job: Path) -> None:
    script(pp, f"test -f before || {{ touch before; kill -9 $$; }}; {writes_good(job)}")
    usage = run_local_potential(save, job, threading.Event())
    assert runs(job) == 2
    assert usage.wall_s > 0


def test_always_killed(pp: Path, save: Path, job: Path) -> None:
    script(pp, "kill -9 $$")
    with pytest.raises(CalculationError, match=r"exit code -9; it printed nothing"):
        run_local_potential(save, job, threading.Event())
    assert runs(job) == ATTEMPTS


def test_it_fails_and_says_why(pp: Path, save: Path, job: Path) -> None:
    script(pp, "echo '     Error in routine readpp (1):'; echo '  file is not there'; exit 3")
    with pytest.raises(CalculationError, match=r"exit code 3; file is not there") as caught:
        run_local_potential(save, job, threading.Event())
    assert POTENTIAL_FILE in caught.value.message
    # It would say so again.
    assert runs(job) == 1


def test_what_failed_is_paid_for(pp: Path, save: Path, job: Path) -> None:
    script(pp, "sleep 0.2; kill -9 $$")
    attempted = attempt_local_potential(save, job, threading.Event())
    assert attempted.value is None
    assert attempted.usage.wall_s > 0.4
    assert attempted.usage.cpu_s > 0


def test_done_without_a_file(pp: Path, save: Path, job: Path) -> None:
    script(pp, "echo JOB DONE.")
    with pytest.raises(CalculationError, match=r"no local potential .* exit code 0; JOB DONE"):
        run_local_potential(save, job, threading.Event())


def test_half_a_file_is_none(pp: Path, save: Path, job: Path) -> None:
    script(pp, f"{writes_good(job)}; head -c 150 {POTENTIAL_FILE} > half; mv half {POTENTIAL_FILE}")
    with pytest.raises(CalculationError, match="is no local potential"):
        run_local_potential(save, job, threading.Event())


def test_a_file_of_an_earlier_run_is_not_taken(pp: Path, save: Path, job: Path) -> None:
    (job / POTENTIAL_FILE).write_text(GOOD)
    script(pp, "exit 1")
    with pytest.raises(CalculationError, match="exit code 1"):
        run_local_potential(save, job, threading.Event())
    assert not (job / POTENTIAL_FILE).exists()


def test_cancelled(pp: Path, save: Path, job: Path) -> None:
    script(pp, "echo $$ > pid; exec sleep 60")
    cancelled = threading.Event()

    def cancel_when_it_runs() -> None:
        while not (job / "pid").exists() or not (job / "pid").read_text().strip():
            time.sleep(0.01)
        cancelled.set()

    watcher = threading.Thread(target=cancel_when_it_runs)
    watcher.start()
    started = time.monotonic()
    with pytest.raises(LeaseLostError, match="potential: stopped"):
        run_local_potential(save, job, cancelled)
    watcher.join()
    assert time.monotonic() - started < 30
    assert runs(job) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((job / "pid").read_text()), 0)


def test_no_pp_x(save: Path, job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(job))
    with pytest.raises(MissingProgramError, match=r"pp\.x is not installed") as caught:
        run_local_potential(save, job, threading.Event())
    assert "Quantum ESPRESSO" in caught.value.fix
