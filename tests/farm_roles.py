"""A farm of real processes around a Redis: workers whose calculation is a sleep, and the writer.

What dies is started again, as a supervisor does; the scheduler ticks in the test itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from farm.backlog import Backlog
from farm.broker import connect
from farm.errors import BrokerError
from farm.queues import make_app
from farm.scheduler import Scheduler
from farm.settings import Settings
from farm.store import open_store

_WORKER = Path(__file__).parent / "workers" / "worker_process.py"


class FarmRoles:
    """The roles of one farm; use as a context."""

    def __init__(
        self, settings: Settings, *, work_s: float = 0.05, workers: int = 1, before: Sequence[str] = ()
    ) -> None:
        url = str(settings.redis_url)
        self.settings = settings
        self.backlog = Backlog(connect(url), name=settings.name)
        self._app = make_app(url, name=settings.name)
        self.scheduler = Scheduler(self.backlog, self._app, settings)
        self.deaths = 0
        home = settings.home
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("FARM_")}
        self._environment |= {"FARM_REDIS_URL": url, "FARM_NAME": settings.name, "FARM_HOME": str(home)}
        self.starts_file = home / "starts"
        arguments = [url, settings.name, str(settings.lease_s), str(work_s), str(self.starts_file)]
        self._commands = {"writer": [sys.executable, "-m", "farm.cli.main", "writer"]}
        for i in range(workers):
            self._commands[f"worker {i}"] = [sys.executable, *before, str(_WORKER), *arguments]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> FarmRoles:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self._keep()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            for number in (signal.SIGCONT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            process.wait()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Tick, and start what died, until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (
                f"waited {timeout_s} s; {self.backlog.counts()}\n{self.log()}"
            )
            self._keep()
            with contextlib.suppress(BrokerError):  # as the scheduler waits for a Redis that is away
                self.scheduler.tick()
            time.sleep(0.05)

    def pid(self, role: str) -> int:
        """Of a role's process, which leads its group."""
        return self._running[role].pid

    def starts(self) -> list[str]:
        """Materials in the order in which a calculation began."""
        if not self.starts_file.exists():
            return []
        return [line.split()[0] for line in self.starts_file.read_text(encoding="utf-8").splitlines()]

    def answering(self) -> set[str]:
        """Names of the Celery workers that answer a control message of this farm."""
        return {name for reply in self._app.control.ping(timeout=2.0) for name in reply}

    def stored(self) -> Counter[str]:
        """How often each material is in the store."""
        if not self.settings.store_path.is_file():
            return Counter()
        with open_store(self.settings.store_path) as store:
            return Counter(row.material_id for row in store.rows(superseded=True))

    def log(self) -> str:
        """What the roles said last."""
        return (self.settings.home / "roles.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def _keep(self) -> None:
        for name, command in self._commands.items():
            process = self._running.get(name)
            if process is not None and process.poll() is None:
                continue
            self.deaths += process is not None
            with (self.settings.home / "roles.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    command, env=self._environment, stdout=log, stderr=log, process_group=0
                )
