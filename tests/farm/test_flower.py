"""``farm flower``: a real server that asks for the password and changes nothing."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from farm.backlog import Backlog
from farm.job import Job
from farm.settings import Settings

PASSWORD = "open sesame"  # noqa: S105 - of a server that lives for this test


def start(settings: Settings, port: int) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FARM_", "FLOWER_"))}
    environment |= {"FARM_FLOWER_PASSWORD": PASSWORD, "FARM_REDIS_URL": str(settings.redis_url)}
    command = [sys.executable, "-m", "farm.cli.main", "--home", str(settings.home)]
    return subprocess.Popen(
        [*command, "flower", "--port", str(port)], env=environment, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(settings, port)
    deadline = time.monotonic() + 60
    while status(f"http://127.0.0.1:{port}/healthcheck") is None:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "Traceback" not in said


def status(url: str, *, password: str | None = None, method: str = "GET") -> int | None:
    """The HTTP status; None where nobody listens yet."""
    request = urllib.request.Request(url, method=method)  # noqa: S310 - our own server
    if password is not None:
        words = base64.b64encode(f"farm:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {words}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            code: int = answer.status
            return code
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except urllib.error.URLError:
        return None


def test_flower_asks_for_the_password_and_changes_nothing(address: str) -> None:
    assert status(f"{address}/") == 401
    assert status(f"{address}/api/tasks") == 401
    assert status(f"{address}/", password=PASSWORD[:-1]) == 401
    assert status(f"{address}/", password=PASSWORD) == 200
    assert status(f"{address}/api/tasks", password=PASSWORD) == 200
    for order in ("worker/shutdown/x", "task/revoke/x", "task/async-apply/store.append"):
        assert status(f"{address}/api/{order}", password=PASSWORD, method="POST") == 403


def test_it_shows_formula_material_and_stage(
    address: str, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    backlog.enqueue([make_job("mp-1265")])
    (sent,) = backlog.dispatch(1, 60)
    backlog.start(sent.job_id, sent.token, "worker@node.1", 60)
    backlog.renew(sent.job_id, sent.token, 60, "bands")
    shown = tasks(address, lambda task: "bands" in task["kwargs"])
    assert shown["uuid"] == sent.task_id
    assert shown["args"] == f"MgO ({sent.job_id})"
    assert shown["worker"] == "worker@node.1"
    assert shown["state"] == "PROGRESS"
    backlog.renew(sent.job_id, sent.token, 60, "response")
    assert tasks(address, lambda task: "response" in task["kwargs"])["uuid"] == sent.task_id


def tasks(address: str, wanted: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """The first task that is as wanted, waited for."""
    words = base64.b64encode(f"farm:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(f"{address}/api/tasks", headers={"Authorization": f"Basic {words}"})  # noqa: S310
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
            listed: dict[str, dict[str, str]] = json.load(answer)
        for task in listed.values():
            if wanted(task):
                return task
        assert time.monotonic() < deadline, listed
        time.sleep(0.2)


def test_a_port_that_is_taken_is_named(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(settings, port)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == f"farm: port {port}: Address already in use. Choose another with --port"
    assert "Traceback" not in said


def test_beyond_loopback_it_asks_for_a_password_of_yours(settings: Settings) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FARM_", "FLOWER_"))}
    command = [sys.executable, "-m", "farm.cli.main", "--home", str(settings.home), "flower"]
    ended = subprocess.run(
        [*command, "--host", "0.0.0.0"],  # noqa: S104 - that is what is refused
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "farm: --host 0.0.0.0: a password must be set. Set FARM_FLOWER_PASSWORD\n"


def test_the_password_is_in_no_argument(address: str) -> None:
    command = f"--port={address.rpartition(':')[2]}"
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "flower" in listed
    assert command.replace("=", " ") in listed
    assert PASSWORD not in listed
