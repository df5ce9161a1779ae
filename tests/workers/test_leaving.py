"""Real workers that leave: told to, without work, and before their walltime ends; the work is a sleep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from farm.backlog import Backlog
from farm.broker import connect
from farm.hold import Hold
from farm.job import Job, JobState
from farm.leaving import Leaving, Stay
from farm.queues import make_app
from farm.scheduler import Scheduler
from farm.settings import Settings, load_settings
from tests.redis_server import RedisServer

MakeJob = Callable[..., Job]
Spawn = Callable[..., "subprocess.Popen[bytes]"]
FOR_EVER_S = 600.0


class Farm:
    """A backlog whose scheduler ticks while the test waits."""

    def __init__(self, settings: Settings) -> None:
        url = str(settings.redis_url)
        self.backlog = Backlog(connect(url))
        self._scheduler = Scheduler(self.backlog, make_app(url), settings)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Tick until the condition holds."""
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, f"jobs {self.backlog.counts()}"
            self._scheduler.tick()
            time.sleep(0.05)

    def delivered(self) -> set[str]:
        """Materials whose result was committed."""
        return {job_id.split(".")[0] for job_id in self.backlog.undelivered()}

    def running(self) -> set[str]:
        """Materials that are computed now."""
        return {view.material_id for view in self.backlog.leased() if view.state is JobState.RUNNING}

    def job(self, material_id: str) -> tuple[JobState, dict[str, int]]:
        """State of a material's job, and what it came back by."""
        [view] = [view for view in self.backlog.jobs() if view.material_id == material_id]
        return view.state, view.causes

    def holds(self) -> list[str]:
        """Why workers take no jobs, which is no trouble here."""
        workers = self.backlog.roster.workers()
        assert all(worker["leaving"] for worker in workers if "hold" in worker)
        return [str(worker.get("hold", "")) for worker in workers]


@pytest.fixture
def farm(client: object, settings: Settings) -> Farm:  # noqa: ARG001 - client empties the database
    return Farm(settings)


@pytest.fixture
def spawn(settings: Settings, start_worker: Spawn) -> Spawn:
    """Start workers of this farm."""

    def start(work_s: float, **leave: Any) -> subprocess.Popen[bytes]:
        starts = settings.home / "starts"
        redis_url = str(settings.redis_url)
        return start_worker(redis_url, "farm", "1.0", str(work_s), str(starts), json.dumps(leave))

    return start


def left_in_order(worker: subprocess.Popen[bytes], farm: Farm) -> bool:
    """Whether it ended well, and nobody thinks that it is still there."""
    farm.wait_for(lambda: worker.poll() is not None)
    return worker.returncode == 0 and farm.holds() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_stop_it_ends_what_it_can_and_hands_the_rest_over_at_once(
    farm: Farm, spawn: Spawn, make_job: MakeJob, number: signal.Signals
) -> None:
    # Both sleep for two seconds; of one that is not known.
    farm.backlog.enqueue([make_job("Short", 2.0), make_job("Long", FOR_EVER_S)])
    worker = spawn(work_s=2.0, slots=2, grace_s=30.0)
    farm.wait_for(lambda: farm.running() == {"Short", "Long"})
    farm.backlog.set_paused(True)  # what is handed over stays where it is
    os.killpg(worker.pid, number)  # as scancel, or a terminal that is closed: to all processes of the job
    farm.wait_for(lambda: farm.job("Long")[0] is JobState.READY)
    assert worker.poll() is None
    assert left_in_order(worker, farm)
    assert farm.delivered() == {"Short"}
    assert farm.job("Long") == (JobState.READY, {})


def test_told_twice_it_hands_everything_over(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue([make_job("Any", 1.0)])
    worker = spawn(work_s=FOR_EVER_S, grace_s=FOR_EVER_S)
    farm.wait_for(lambda: farm.running() == {"Any"})
    farm.backlog.set_paused(True)
    worker.send_signal(signal.SIGTERM)
    farm.wait_for(lambda: farm.holds() == ["told to stop by SIGTERM"])
    assert farm.running() == {"Any"}
    worker.send_signal(signal.SIGTERM)
    assert left_in_order(worker, farm)
    assert farm.job("Any") == (JobState.READY, {})


def test_told_to_drain_it_ends_its_job_and_takes_no_other(
    farm: Farm, spawn: Spawn, make_job: MakeJob
) -> None:
    farm.backlog.enqueue([make_job("First", 1.0), make_job("Second", 2.0)])
    worker = spawn(work_s=1.0, grace_s=0.1)
    farm.wait_for(lambda: farm.running() == {"First"})
    os.killpg(worker.pid, signal.SIGUSR2)  # as Slurm does, unless it tells the batch shell alone
    assert left_in_order(worker, farm)
    assert farm.delivered() == {"First"}
    assert farm.job("Second")[1] == {}


def test_under_nohup_a_closed_terminal_changes_nothing(
    farm: Farm, spawn: Spawn, make_job: MakeJob, settings: Settings
) -> None:
    farm.backlog.enqueue([make_job("Any", 1.0)])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the worker inherits
    try:
        worker = spawn(work_s=2.0)
    finally:
        signal.signal(signal.SIGHUP, before)
    farm.wait_for(lambda: farm.running() == {"Any"})
    os.killpg(worker.pid, signal.SIGHUP)
    farm.wait_for(lambda: farm.delivered() == {"Any"})
    assert (settings.home / "starts").read_text(encoding="utf-8").count("Any") == 1
    worker.send_signal(signal.SIGTERM)
    assert left_in_order(worker, farm)


@pytest.mark.parametrize("is_busy", [True, False])
def test_it_leaves_although_redis_never_answers(
    tmp_path: Path, start_worker: Spawn, make_job: MakeJob, is_busy: bool
) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    pid = int(server.admin().info()["process_id"])
    try:
        settings = load_settings({"home": tmp_path, "redis_url": server.url}, environment={})
        farm = Farm(settings)
        if is_busy:
            farm.backlog.enqueue([make_job("Any", 1.0)])
        leave = json.dumps({"grace_s": 0.1, "spare_s": 1.0})
        starts = tmp_path / "starts"
        worker = start_worker(server.url, "farm", "60.0", str(FOR_EVER_S), str(starts), leave)
        farm.wait_for(starts.exists if is_busy else lambda: farm.holds() == [""])
        pool = psutil.Process(worker.pid).children()
        os.kill(pid, signal.SIGSTOP)
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=30)
        assert psutil.wait_procs(pool, timeout=10)[1] == []
    finally:
        os.kill(pid, signal.SIGCONT)
        server.stop()


def test_its_time_ends_also_while_redis_is_away(
    tmp_path: Path, start_worker: Spawn, make_job: MakeJob
) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    try:
        farm = Farm(load_settings({"home": tmp_path, "redis_url": server.url}, environment={}))
        farm.backlog.enqueue([make_job("Any", 0.1)])
        leave = json.dumps({"grace_s": 0.1, "spare_s": 1.0, "walltime_s": 8.0})
        starts = tmp_path / "starts"
        worker = start_worker(server.url, "farm", "60.0", str(FOR_EVER_S), str(starts), leave)
        farm.wait_for(starts.exists)
        server.kill()
        assert worker.wait(timeout=40) == 0
    finally:
        server.stop()


def test_it_leaves_that_had_no_job_for_long(farm: Farm, spawn: Spawn, make_job: MakeJob) -> None:
    farm.backlog.enqueue([make_job("Any", 1.0)])
    worker = spawn(work_s=1.2, until_idle_s=1.0)
    assert left_in_order(worker, farm)
    assert farm.delivered() == {"Any"}


def test_a_worker_with_an_end_begins_what_fits_and_is_gone_in_time(
    farm: Farm, spawn: Spawn, make_job: MakeJob
) -> None:
    # The prediction of the first is wrong: it never ends.
    farm.backlog.enqueue([make_job("Wrong", 0.1), make_job("Large", FOR_EVER_S)])
    worker = spawn(work_s=FOR_EVER_S, slots=2, walltime_s=9.0, grace_s=0.5)
    farm.wait_for(lambda: any("; the next job needs 20 min" in hold for hold in farm.holds()))
    assert farm.running() == {"Wrong"}
    farm.backlog.set_paused(True)
    assert left_in_order(worker, farm)
    assert farm.job("Wrong") == (JobState.READY, {"returned": 1})
    assert farm.job("Large")[1] == {}
    # Somebody with more time begins both.
    farm.backlog.set_paused(False)
    spawn(work_s=FOR_EVER_S, slots=2)
    farm.wait_for(lambda: farm.running() == {"Wrong", "Large"})


def test_a_signal_while_it_asks_itself_whether_to_stay_is_not_forgotten() -> None:
    def why_leave(_: float) -> str:
        signal.raise_signal(signal.SIGTERM)
        return ""

    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    leaving = Leaving(Stay(why_leave=why_leave))
    try:
        leaving.listen(None)
        holds = [leaving.hold(), leaving.hold()]
    finally:
        leaving.end()
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
    assert holds == [Hold("told to stop by SIGTERM", is_leaving=True)] * 2
