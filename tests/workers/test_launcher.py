"""Processes die as a whole, die with their parent, and are measured."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from farm.errors import MissingProgramError
from workers import launcher
from workers.launcher import Process, Usage, launch

# A shell that starts a grandchild and tells its pid.
FAMILY = ["sh", "-c", "sleep 300 & echo $! > grandchild; wait"]


def _start(argv: list[str], directory: Path, ranks: int = 1) -> Process:
    return launch(
        argv, directory=directory, stdout=directory / "out", stderr=directory / "err", ranks=ranks
    )


def _wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def _written_pid(path: Path) -> int:
    _wait_until(lambda: path.is_file() and bool(path.read_text().strip()))
    return int(path.read_text())


def _gone(pid: int) -> bool:
    # A zombie that nobody reaps (no init in a container) is dead, too.
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_kill_group_takes_the_grandchild(tmp_path: Path) -> None:
    process = _start(FAMILY, tmp_path)
    grandchild = _written_pid(tmp_path / "grandchild")
    process.kill_group()
    assert process.returncode == -signal.SIGKILL
    _wait_until(lambda: _gone(grandchild))


def test_kill_group_takes_a_grandchild_that_left_the_group(tmp_path: Path) -> None:
    process = _start(["sh", "-c", "setsid sleep 300 & echo $! > grandchild; wait"], tmp_path)
    grandchild = _written_pid(tmp_path / "grandchild")
    _wait_until(lambda: os.getpgid(grandchild) == grandchild)
    process.kill_group()
    _wait_until(lambda: _gone(grandchild))


_SETPRIV = ["setpriv", "--pdeathsig", "KILL"]
_GUARDS = {"setpriv": _SETPRIV, "late": ["sh", "-c", 'sleep 1; exec "$@"', "sh", *_SETPRIV], "prctl": []}


@pytest.mark.parametrize("guard", _GUARDS)
def test_child_dies_with_a_parent_killed_by_sigkill(tmp_path: Path, guard: str) -> None:
    if guard != "prctl" and shutil.which("setpriv") is None:
        pytest.skip("setpriv missing")
    script = f"""
import sys, time
from pathlib import Path
from workers import launcher
launcher._death_guard = lambda: {_GUARDS[guard]}
here = Path({str(tmp_path)!r})
process = launcher.launch(["sleep", "300"], directory=here, stdout=here / "out", stderr=here / "err")
(here / "child").write_text(str(process.pid))
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", script])
    child = _written_pid(tmp_path / "child")
    assert not _gone(child)
    parent.kill()
    parent.wait()
    _wait_until(lambda: _gone(child))


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun missing")
def test_ranks_die_with_mpirun(tmp_path: Path) -> None:
    process = _start(["sh", "-c", "echo $$ > rank$OMPI_COMM_WORLD_RANK; exec sleep 300"], tmp_path, ranks=2)
    ranks = [_written_pid(tmp_path / f"rank{i}") for i in range(2)]
    assert not any(_gone(pid) for pid in ranks)
    # Nobody cleans up here: only the death signal is left.
    os.kill(process.pid, signal.SIGKILL)
    _wait_until(lambda: all(_gone(pid) for pid in ranks))
    process.wait()


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun missing")
def test_more_ranks_than_a_batch_system_counts_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = socket.gethostname()
    allocation = {
        "JOBID": "12",
        "NODELIST": host,
        "TASKS_PER_NODE": "1",
        "NTASKS": "1",
        "CPUS_PER_TASK": "2",
    }
    for name, value in allocation.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    process = _start(["sh", "-c", "echo $OMPI_COMM_WORLD_RANK"], tmp_path, ranks=2)
    assert process.wait() == 0, (tmp_path / "err").read_text()
    assert sorted((tmp_path / "out").read_text().split()) == ["0", "1"]
    assert (tmp_path / "err").read_text() == ""


def test_usage_counts_cpu_and_memory_of_descendants(tmp_path: Path) -> None:
    work = "x = bytearray(80_000_000); t = __import__('time')\nwhile t.process_time() < 0.5: pass"
    process = _start(["sh", "-c", f'{sys.executable} -c "{work}"; true'], tmp_path)
    assert process.wait() == 0
    assert 0.5 <= process.usage.cpu_s < 5
    assert process.usage.wall_s >= 0.5
    assert 80 < process.usage.peak_memory_mb < 200


def test_memory_is_not_the_parents(tmp_path: Path) -> None:
    ballast = bytearray(300_000_000)
    process = _start(["sleep", "0.3"], tmp_path)
    process.wait()
    assert ballast
    assert process.usage.peak_memory_mb < 50


def test_one_thread_for_openmp_and_blas(tmp_path: Path) -> None:
    process = _start(["sh", "-c", "echo $OMP_NUM_THREADS $OPENBLAS_NUM_THREADS"], tmp_path)
    process.wait()
    assert (tmp_path / "out").read_text().split() == ["1", "1"]


def test_wait_raises_after_its_timeout(tmp_path: Path) -> None:
    process = _start(["sleep", "30"], tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.1)
    process.kill_group()


def test_missing_program_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="apt install quantum-espresso"):
        _start(["pw.x"], tmp_path)


def test_usages_add_up() -> None:
    total = Usage(cpu_s=1, wall_s=2, peak_memory_mb=30) + Usage(cpu_s=3, wall_s=4, peak_memory_mb=20)
    assert total == Usage(cpu_s=4, wall_s=6, peak_memory_mb=30)
    assert launcher.Usage() == Usage(cpu_s=0, wall_s=0, peak_memory_mb=0)


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun missing")
def test_one_rank_under_mpirun_is_told_by_its_exit_code_and_may_use_every_core(tmp_path: Path) -> None:
    code = (
        "import os; print(sorted(os.sched_getaffinity(0)), 'OMPI_COMM_WORLD_SIZE' in os.environ); exit(3)"
    )
    process = launch(
        [sys.executable, "-c", f"{code}; exit(3)"],
        directory=tmp_path,
        stdout=tmp_path / "out",
        stderr=tmp_path / "err",
        always_mpirun=True,
    )
    assert process.wait(timeout=60) == 3
    allowed = sorted(os.sched_getaffinity(0))
    assert (tmp_path / "out").read_text().splitlines()[0] == f"{allowed} True"
