"""Two real schedulers: one leads; when it is killed, frozen or stopped the other takes over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from farm.backlog import Backlog
from farm.job import Job, JobState
from farm.settings import Settings

MakeJob = Callable[..., Job]


@pytest.fixture
def schedulers(backlog: Backlog, settings: Settings) -> Iterator[list[subprocess.Popen[bytes]]]:
    environment = os.environ | {"FARM_REDIS_URL": str(settings.redis_url), "FARM_HOME": str(settings.home)}
    command = [sys.executable, "-m", "farm.cli.main", "scheduler"]
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    wait_for(lambda: leader(backlog, processes) is not None)
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def leader(backlog: Backlog, processes: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes] | None:
    pid = backlog.roster.leader().rpartition(":")[2]
    return next((process for process in processes if str(process.pid) == pid), None)


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_scheduler_takes_over(
    schedulers: list[subprocess.Popen[bytes]], backlog: Backlog, make_job: MakeJob, how: signal.Signals
) -> None:
    first = leader(backlog, schedulers)
    assert first is not None
    first.send_signal(how)
    if how is signal.SIGKILL:
        first.wait()
    wait_for(lambda: leader(backlog, schedulers) not in (None, first))
    backlog.enqueue([make_job()])
    wait_for(lambda: backlog.counts()[JobState.DISPATCHED] == 1)
    if how is signal.SIGSTOP:  # back from the dead it sees that another leads
        second = leader(backlog, schedulers)
        first.send_signal(signal.SIGCONT)
        time.sleep(1.0)
        assert leader(backlog, schedulers) is second
        assert backlog.counts()[JobState.DISPATCHED] == 1
