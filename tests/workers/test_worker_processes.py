"""Real Celery workers on a real Redis, killed, frozen and stopped; only the calculation is a sleep."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from farm.backlog import Backlog
from farm.broker import connect
from farm.job import Job, JobState
from farm.queues import make_app
from farm.scheduler import Scheduler
from farm.settings import Settings, load_settings

MakeJob = Callable[..., Job]
Spawn = Callable[..., "subprocess.Popen[bytes]"]
LEASE_S = 1.0


class Farm:
    """A backlog whose scheduler ticks while the test waits."""

    def __init__(self, settings: Settings, url: str, starts: Path) -> None:
        self.settings = settings
        self.app = make_app(url)
        self.backlog = Backlog(connect(url))
        self.starts_file = starts
        self.scheduler = Scheduler(self.backlog, self.app, settings)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Tick until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout_s} s; jobs {self.backlog.counts()}"
            self.scheduler.tick()
            time.sleep(0.05)

    def delivered(self) -> list[str]:
        """Materials whose result was committed."""
        return sorted(job_id.split(".")[0] for job_id in self.backlog.undelivered())

    def starts(self) -> list[str]:
        """Materials in the order in which a calculation began."""
        if not self.starts_file.exists():
            return []
        return [line.split()[0] for line in self.starts_file.read_text(encoding="utf-8").splitlines()]

    def is_running(self) -> bool:
        """True when some calculation is under way."""
        return self.backlog.counts()[JobState.RUNNING] > len(self.backlog.undelivered())


@pytest.fixture
def farm(client: object, tmp_path: Path, redis_url: str) -> Farm:  # noqa: ARG001 - client empties the database
    settings = load_settings({"home": tmp_path, "redis_url": redis_url, "lease_s": LEASE_S}, environment={})
    return Farm(settings, redis_url, tmp_path / "starts")


@pytest.fixture
def spawn(farm: Farm, redis_url: str, start_worker: Spawn) -> Spawn:
    """Start workers of this farm."""

    def start(work_s: float, lease_s: float = LEASE_S) -> subprocess.Popen[bytes]:
        return start_worker(redis_url, "farm", str(lease_s), str(work_s), str(farm.starts_file))

    return start


def test_jobs_run_in_order_of_cost_and_each_once(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue(make_job(f"M{cost}", cost) for cost in (4, 2, 3, 1))
    spawn(work_s=0.05)
    farm.wait_for(lambda: len(farm.delivered()) == 4)
    assert farm.starts() == ["M1", "M2", "M3", "M4"]


def test_a_job_longer_than_its_lease_runs_once(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue([make_job()])
    spawn(work_s=3.5 * LEASE_S)
    farm.wait_for(lambda: len(farm.delivered()) == 1)
    assert farm.starts() == ["MgO"]


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_killed_worker_s_job_runs_elsewhere(
    farm: Farm, spawn: Spawn, make_job: MakeJob, victim: str
) -> None:
    farm.backlog.enqueue([make_job()])
    first = spawn(work_s=600)
    farm.wait_for(farm.is_running)
    [child] = psutil.Process(first.pid).children()
    if victim == "worker":
        os.killpg(first.pid, signal.SIGKILL)
    else:
        child.kill()
    killed_at = time.monotonic()
    spawn(work_s=0.05)
    if victim == "child":
        # The worker goes on with a new child, whose sleep is long: once the loss was seen, out of the way.
        farm.wait_for(lambda: any(view.attempts for view in farm.backlog.jobs()))
        os.killpg(first.pid, signal.SIGKILL)
    farm.wait_for(lambda: len(farm.delivered()) == 1)
    assert time.monotonic() - killed_at < 30
    [view] = farm.backlog.jobs()
    assert view.attempts >= 1


def test_a_frozen_worker_s_late_result_is_refused(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue([make_job()])
    first = spawn(work_s=1.5)
    farm.wait_for(farm.is_running)
    os.killpg(first.pid, signal.SIGSTOP)
    farm.wait_for(lambda: not farm.is_running(), timeout_s=10)  # its lease expires
    spawn(work_s=0.05)
    farm.wait_for(lambda: len(farm.delivered()) == 1)
    payload = farm.backlog.payloads([make_job().job_id]).get(make_job().job_id)
    os.killpg(first.pid, signal.SIGCONT)
    time.sleep(2.5)  # long enough for the late worker to end its sleep and to try
    assert farm.backlog.payloads([make_job().job_id]).get(make_job().job_id) == payload
    assert farm.delivered() == ["MgO"]
    assert len(farm.starts()) == 2


def test_a_stopped_worker_hands_over_uncounted(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue([make_job()])
    first = spawn(work_s=600)
    farm.wait_for(farm.is_running)
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=20) == 0
    [view] = farm.backlog.jobs()
    assert (view.state, view.attempts) == (JobState.READY, 0)


def test_a_cancelled_job_stops(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    job = make_job()
    farm.backlog.enqueue([job])
    spawn(work_s=600)
    farm.wait_for(farm.is_running)
    farm.backlog.cancel([job.job_id])
    farm.backlog.enqueue([make_job("Next", 1.0)])
    farm.wait_for(lambda: "Next" in farm.starts())  # the slot is free again
    assert farm.delivered() == []


def test_a_worker_that_is_not_able_takes_no_jobs_and_goes_on_when_it_is(
    farm: Farm, spawn: Spawn, make_job: MakeJob
) -> None:
    switch = farm.starts_file.with_name("not-ready")
    switch.touch()
    spawn(work_s=0.05)
    farm.wait_for(lambda: any(w.get("hold") == "the disk is full" for w in farm.backlog.roster.workers()))
    farm.backlog.enqueue([make_job("A", 1.0), make_job("B", 2.0)])
    for _ in range(40):
        farm.scheduler.tick()
        time.sleep(0.05)
    assert farm.starts() == []
    assert {view.state for view in farm.backlog.jobs()} <= {JobState.READY, JobState.DISPATCHED}
    switch.unlink()
    farm.wait_for(lambda: len(farm.delivered()) == 2)
    assert farm.starts() == ["A", "B"]
    assert all(view.attempts == 0 for view in farm.backlog.jobs())


def test_a_dead_pool_process_is_told_at_once_and_counted(
    farm: Farm, spawn: Spawn, make_job: MakeJob
) -> None:
    farm.backlog.enqueue([make_job()])
    first = spawn(work_s=600, lease_s=120.0)  # longer than this test waits
    farm.wait_for(farm.is_running)
    farm.backlog.set_paused(True)  # it stays where it goes
    [child] = psutil.Process(first.pid).children()
    child.kill()
    farm.wait_for(lambda: farm.backlog.counts()[JobState.READY] == 1)
    [view] = farm.backlog.jobs()
    assert view.causes == {"worker_lost": 1}
    assert "the process that computed it died" in view.reason


def test_a_message_that_a_frozen_idle_worker_took_with_it_is_sent_again(
    farm: Farm, spawn: Spawn, make_job: MakeJob
) -> None:
    first = spawn(work_s=0.05)
    farm.wait_for(lambda: bool(farm.backlog.roster.workers()))
    os.killpg(first.pid, signal.SIGSTOP)
    farm.backlog.enqueue([make_job()])
    farm.scheduler.tick()
    time.sleep(0.3)
    assert farm.backlog.waiting_task_ids("cpu.native.small") == []  # it went to the frozen process
    os.killpg(first.pid, signal.SIGKILL)
    spawn(work_s=0.05)
    farm.wait_for(lambda: farm.delivered() == ["MgO"])
    assert farm.starts() == ["MgO"]
    [view] = farm.backlog.jobs()
    assert view.attempts == 0
