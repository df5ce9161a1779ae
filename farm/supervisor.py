"""Run the roles of a farm as processes of one machine: start, restart with a pause, stop together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farm.errors import FarmError
from farm.settings import Settings

# A role that dies at once, this many times in a row, will not live: say so instead of looping.
_MAX_RAPID_DEATHS = 3
_RAPID_S = 5.0
# Where programs are read from a slow disk, a role that refuses to start may take so long to say so.
_SLOW_START_S = 60.0
# Beyond the grace of a worker: cleaning up.
_STOP_SPARE_S = 10.0
# Exit codes of a FarmError: the same command would say the same again.
_REFUSALS = (1, 2)


@dataclass(frozen=True)
class Role:
    """One role: its name and the ``farm`` arguments that run it.

    stops_last: told to stop when the others have: it takes what they still deliver
    """

    name: str
    arguments: tuple[str, ...]
    stops_last: bool = False


@dataclass
class _Running:
    """A role's process, when it was started (monotonic seconds), and how often it died at once."""

    role: Role
    process: subprocess.Popen[bytes]
    started_s: float
    rapid_deaths: int = 0

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Supervisor:
    """Keeps roles alive for as long as the context lasts; their logs are in ``logs/<role>.log``."""

    def __init__(self, settings: Settings, redis_url: str, roles: Iterable[Role]) -> None:
        self._settings = settings
        self._redis_url = redis_url
        self._roles = list(roles)
        self._running: list[_Running] = []

    def __enter__(self) -> Supervisor:
        self._settings.logs_dir.mkdir(parents=True, exist_ok=True)
        for role in self._roles:
            self._running.append(_Running(role, self._spawn(role), time.monotonic()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def log_path(self, role: Role) -> Path:
        """Where a role's words go."""
        return self._settings.logs_dir / f"{role.name}.log"

    def check(self) -> None:
        """Restart what died. Raises FarmError with the log's last words when a role cannot live."""
        for running in self._running:
            code = running.process.poll()
            if code is None:
                continue
            lived_s = time.monotonic() - running.started_s
            rapid = lived_s < _RAPID_S
            is_early = rapid or (lived_s < _SLOW_START_S and code in _REFUSALS)
            running.rapid_deaths = running.rapid_deaths + 1 if is_early else 0
            if running.rapid_deaths >= _MAX_RAPID_DEATHS or (rapid and code in _REFUSALS):
                log = self.log_path(running.role)
                raise FarmError(f"{running.role.name} does not start: {_last_words(log)}")
            if running.process.stdin is not None:
                running.process.stdin.close()
            running.process = self._spawn(running.role)
            running.started_s = time.monotonic()

    def _spawn(self, role: Role) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "farm.cli.main",
            "--home",
            str(self._settings.home),
            *role.arguments,
        ]
        environment = {**os.environ, "FARM_REDIS_URL": self._redis_url, "FARM_SUPERVISED": "1"}
        with self.log_path(role).open("ab") as log:
            # A group of its own: Ctrl-C in the terminal reaches the supervisor alone. The pipe is never
            # written to: its end tells the role that the supervisor is gone.
            return subprocess.Popen(  # noqa: S603 - our own argv
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, process_group=0
            )

    def _stop(self) -> None:
        """SIGTERM, wait, then SIGKILL to whole process groups."""
        for last in (False, True):
            roles = [r for r in self._running if r.role.stops_last is last]
            _stop_together(roles, self._settings.grace_s + _STOP_SPARE_S)
        for running in self._running:
            if running.process.stdin is not None:
                running.process.stdin.close()


def _stop_together(roles: list[_Running], timeout_s: float) -> None:
    alive = [running for running in roles if running.process.poll() is None]
    for running in alive:
        running.signal_group(signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    for running in alive:
        try:
            running.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            running.signal_group(signal.SIGKILL)
            running.process.wait()


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    told = [line for line in lines if line.startswith("farm: ")]
    return (told or lines or ["it said nothing"])[-1].removeprefix("farm: ")
