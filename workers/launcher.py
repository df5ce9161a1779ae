"""The only subprocess of the workers: argv in, a measured process group out.

A job dies with its parent: the kernel kills the child when the worker is gone (even by kill -9),
and :meth:`Process.kill_group` ends everything the child started before it returns.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from farm.errors import MissingProgramError

_PR_SET_PDEATHSIG = 1

# Memory is sampled after this share of a run's time again, at least this often.
_SAMPLE_SHARE = 0.05
_LONGEST_SAMPLE_S = 10.0

INSTALL_HINTS: Mapping[str, str] = {
    "pw.x": "Install Quantum ESPRESSO, e.g. `apt install quantum-espresso`, and put pw.x on PATH",
    "pp.x": "It comes with pw.x: put the whole Quantum ESPRESSO on PATH",
    "mpirun": "Install Open MPI, e.g. `apt install openmpi-bin`, or run with one rank",
}

# What every program is started with where nothing else is said.
PROGRAM_ENVIRONMENT: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # A single pw.x needs no daemon beside it.
    "OMPI_MCA_ess_singleton_isolated": "1",
    # mpirun binds few ranks to the first cores: jobs side by side would share those. Open MPI 4, and 5.
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    # All ranks are on this host. A batch system would be asked for other hosts, and an allocation of one
    # task with many cores would count as one slot: a second rank would be refused.
    **{f"{prefix}_MCA_{kind}": "^slurm,tm" for prefix in ("OMPI", "PRTE") for kind in ("ras", "plm")},
}
_ONLY_FOR_PARENT = 'test "$PPID" = "$1" || exit 1; shift; exec "$@"'
# Containers run as root.
ROOT_ENVIRONMENT: Mapping[str, str] = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a process and all it started cost: user + system CPU s, wall s, peak resident MB.

    disk_mb:  what it left on the disk, where that was measured
    attempts: processes that this is the sum of, one after the other
    """

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_mb: float = 0.0
    disk_mb: float = 0.0
    attempts: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            cpu_s=self.cpu_s + other.cpu_s,
            wall_s=self.wall_s + other.wall_s,
            peak_memory_mb=max(self.peak_memory_mb, other.peak_memory_mb),
            disk_mb=max(self.disk_mb, other.disk_mb),
            attempts=self.attempts + other.attempts,
        )


class Process(subprocess.Popen[bytes]):
    """A Popen that leads its own session, is reaped with wait4 and knows what it cost.

    ``usage`` is complete once ``poll`` or ``wait`` has returned an exit code.
    """

    # Without a reader of the tree's memory the floor of wait4 (the parent at fork) would be reported.
    _sampled_kb = 0

    def __init__(self, argv: Sequence[str], **options: object) -> None:
        self._reaping = threading.Lock()
        self._started = time.monotonic()
        self._next_sample = self._started
        self.usage = Usage(attempts=1)
        super().__init__(argv, **options)  # type: ignore[call-overload]  # options are Popen's own

    def poll(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        with self._reaping:
            if self.returncode is None:
                self._sample_memory()
                self._reap(os.WNOHANG)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(0.02)
        return code

    def kill_group(self) -> None:
        """SIGKILL the process, its group and every descendant; returns when the process is reaped."""
        # mpirun gives its ranks groups of their own, so the tree is read before the root goes.
        members = [pid for pid in _tree(self.pid) if pid != self.pid] if self.poll() is None else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def _reap(self, flags: int) -> None:
        try:
            pid, status, used = os.wait4(self.pid, flags)
        except ChildProcessError:  # reaped by somebody else: the exit code is lost, not the job
            self.returncode = -signal.SIGKILL
            return
        if pid == 0:
            return
        peak_kb = self._sampled_kb or used.ru_maxrss
        self.usage = Usage(
            cpu_s=used.ru_utime + used.ru_stime,
            wall_s=time.monotonic() - self._started,
            peak_memory_mb=peak_kb / 1024,
            attempts=1,
        )
        self.returncode = os.waitstatus_to_exitcode(status)

    def _sample_memory(self) -> None:
        now = time.monotonic()
        if now < self._next_sample:
            return
        # Long runs are looked at less often: what they hold, they hold for long.
        self._next_sample = now + min(_LONGEST_SAMPLE_S, _SAMPLE_SHARE * (now - self._started))
        # wait4's maximum starts at the size of the forking parent, so the tree is read instead.
        self._sampled_kb = max(self._sampled_kb, sum(_high_water_kb(pid) for pid in _tree(self.pid)))


def launch(
    argv: Sequence[str],
    *,
    directory: Path,
    stdout: Path,
    stderr: Path,
    environment: Mapping[str, str] | None = None,
    ranks: int = 1,
    always_mpirun: bool = False,
) -> Process:
    """Start ``argv`` in ``directory``, under mpirun when ``ranks`` > 1; output goes to the two files.

    ``always_mpirun``: one rank as well; without it yambo returns 0 after it has stopped at an error.
    The child gets one thread for OpenMP and BLAS where ``environment`` does not say more. The calling
    thread must outlive the child: the kernel sends the death signal when the thread that forked is gone.

    Raises MissingProgramError when a program is not installed.
    """
    program = _find(argv[0])
    guard = _death_guard()
    command = [program, *argv[1:]]
    if ranks > 1 or always_mpirun:
        # The guard also stands before each rank, which otherwise outlives a killed mpirun.
        command = [_find("mpirun"), "-np", str(ranks), *guard, *command]
    if guard:
        # The parent may have died before the guard asked for the signal: then there is nobody to work for.
        command = [*guard, "sh", "-c", _ONLY_FOR_PARENT, "sh", str(os.getpid()), *command]
    with stdout.open("wb") as out, stderr.open("wb") as err:
        return Process(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=_environment(environment or {}),
            start_new_session=True,
            preexec_fn=None if guard else _die_with_parent(),
        )


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    for_root = ROOT_ENVIRONMENT if os.geteuid() == 0 else {}
    return {**os.environ, **PROGRAM_ENVIRONMENT, **for_root, **extra}


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise MissingProgramError(
            f"{program} is not installed", fix=INSTALL_HINTS.get(program, f"Put {program} on PATH")
        )
    return found


def _death_guard() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _die_with_parent() -> Callable[[], None] | None:
    # Loaded before the fork: between fork and exec only the one call is made.
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "prctl"):  # not Linux
        return None
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and None


def _tree(root: int) -> list[int]:
    """The process and its descendants; Linux only, elsewhere the process alone."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found.extend(int(child) for child in (task / "children").read_text().split())
    return found


def _high_water_kb(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
