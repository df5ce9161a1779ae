"""`farm up` as a process, and the roles that it keeps alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from farm.errors import FarmError
from farm.settings import load_settings
from farm.supervisor import Role, Supervisor


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("pw_x")
def test_a_closed_terminal_stops_all_roles_and_their_redis(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "farm.cli.main", "--home", str(tmp_path), "up", "--no-trainer"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARM_")}
    with subprocess.Popen(command, env=environment, process_group=0, stderr=subprocess.DEVNULL) as up:
        try:
            leads = tmp_path / "logs" / "scheduler.log"
            _wait_for(lambda: leads.is_file() and "leads" in leads.read_text(encoding="utf-8"))
            server = psutil.Process(int((tmp_path / "redis" / "redis.pid").read_text(encoding="utf-8")))
            roles = psutil.Process(up.pid).children()
            os.killpg(up.pid, signal.SIGHUP)
            assert up.wait(60) == 0
            assert psutil.wait_procs([server, *roles], timeout=10)[1] == []
        finally:
            up.kill()


@pytest.mark.parametrize("rapid_s", [30.0, 0.0])
def test_a_role_that_refuses_to_start_is_told_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rapid_s: float
) -> None:
    monkeypatch.setattr("farm.supervisor._RAPID_S", rapid_s)
    settings = load_settings({"home": tmp_path}, environment={})
    with Supervisor(settings, "no URL", [Role("writer", ("writer",))]) as supervisor:

        def refuses() -> bool:
            try:
                supervisor.check()
            except FarmError as error:
                return "writer does not start: redis_url is not a Redis URL" in str(error)
            return False

        _wait_for(refuses)
