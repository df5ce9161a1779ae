"""A role that runs its tasks itself, told to stop: a short task ends, a long one is broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from farm.backlog import Backlog
from farm.broker import connect
from farm.queues import TRAINER_QUEUE, make_app
from tests.redis_server import RedisServer

_ROLE = """
import sys, time
from pathlib import Path
import farm.leaving
from farm.backlog import Backlog
from farm.broker import connect
from farm.leaving import Stay
from farm.queues import TRAINER_QUEUE, make_app
from farm.serving import serve

url, directory = sys.argv[1], Path(sys.argv[2])
app = make_app(url)
farm.leaving._SPARE_S = 1.0

@app.task(name="work")
def work(seconds):
    (directory / "begun").touch()
    try:
        time.sleep(seconds)
        (directory / "ended").touch()
    except SystemExit:
        (directory / "broken off").touch()
        raise

backlog = Backlog(connect(url))
stay = Stay(grace_s=float(sys.argv[3]))
serve(app, backlog, name="trainer@here.1", queues=[TRAINER_QUEUE], slots=None, stay=stay)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("work_s", "how"), [(1.0, "ended"), (600.0, "broken off")])
def test_a_role_without_a_pool_ends_what_it_can(
    backlog: Backlog, client: redis.Redis, redis_url: str, tmp_path: Path, work_s: float, how: str
) -> None:
    make_app(redis_url).send_task("work", args=[work_s], queue=TRAINER_QUEUE)
    with subprocess.Popen(
        [sys.executable, "-c", _ROLE, redis_url, str(tmp_path), "2"], stderr=subprocess.PIPE, text=True
    ) as role:
        try:
            wait_for((tmp_path / "begun").exists)
            role.send_signal(signal.SIGTERM)
            _, said = role.communicate(timeout=30)
        finally:
            role.kill()
    assert role.returncode == 0
    assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"begun", how}
    assert backlog.roster.workers() == []
    # What was broken off waits for the next.
    assert client.llen(f"farm:{TRAINER_QUEUE}") == (1 if how == "broken off" else 0)


def test_a_role_in_a_long_task_is_there(
    backlog: Backlog, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    make_app(redis_url).send_task("work", args=[600.0], queue=TRAINER_QUEUE)
    with subprocess.Popen([sys.executable, "-c", _ROLE, redis_url, str(tmp_path), "0.1"]) as role:
        try:
            wait_for((tmp_path / "begun").exists)
            # What its loop had said before.
            client.delete("farm:workers")
            wait_for(lambda: [worker["name"] for worker in backlog.roster.workers()] == ["trainer@here.1"])
            role.send_signal(signal.SIGTERM)
            assert role.wait(timeout=30) == 0
        finally:
            role.kill()
    assert backlog.roster.workers() == []


def test_an_idle_role_leaves_although_redis_never_answers(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    pid = int(server.admin().info()["process_id"])
    backlog = Backlog(connect(server.url))
    with subprocess.Popen([sys.executable, "-c", _ROLE, server.url, str(tmp_path), "0.1"]) as role:
        try:
            wait_for(lambda: bool(backlog.roster.workers()))
            os.kill(pid, signal.SIGSTOP)
            role.send_signal(signal.SIGTERM)
            role.wait(timeout=30)
        finally:
            role.kill()
            os.kill(pid, signal.SIGCONT)
            server.stop()
