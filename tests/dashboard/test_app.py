"""The frame of the dashboard: what every page has, and the process that serves it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from farm.backlog import Backlog
from farm.dashboard.access import Access
from farm.dashboard.pages.overview import bar
from farm.dashboard.sparkline import sparkline
from farm.job import Job
from farm.settings import Settings
from tests.dashboard.conftest import OPERATE_TOKEN, VIEW_TOKEN

Browse = Callable[..., TestClient]


@pytest.mark.usefixtures("stored")
def test_overview_is_a_page_with_its_landmarks(browse: Browse) -> None:
    page = browse().get("/")
    assert page.status_code == 200
    for mark in ('<main id="main"', '<nav aria-label="Pages"', 'class="skip"', '<html lang="en">'):
        assert mark in page.text


@pytest.mark.usefixtures("stored")
def test_the_fragment_is_what_the_page_shows(
    browse: Browse, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    backlog.enqueue([make_job("first", 3.0), make_job("second", 70.0)])
    client = browse()
    page, fragment = client.get("/").text, client.get("/fragment/overview").text
    assert fragment.strip() in page
    assert fragment.index("first") < fragment.index("second")
    assert "<code>farm up</code>" in fragment


def test_the_bar_is_full_and_every_state_can_be_seen() -> None:
    parts = bar({"done": 1_000_000, "failed": 1, "ready": 500_000, "running": 0})
    assert [part.state for part in parts] == ["done", "failed", "ready"]
    assert parts[-1].x + parts[-1].width == pytest.approx(100, abs=0.01)
    assert min(part.width for part in parts) > 0.5
    assert bar({"done": 0}) == []


def test_a_sparkline_ends_at_its_last_value_and_says_what_it_is() -> None:
    drawn = sparkline([0.1, 0.5, 0.3], "SC <now>")
    assert drawn is not None
    assert 'points="4.0,32.0 80.0,4.0 156.0,18.0"' in drawn
    assert 'cx="156.0" cy="18.0"' in drawn
    assert 'aria-label="SC &lt;now&gt;"' in drawn
    assert sparkline([0.1], "") is None


def test_pages_of_waiting_jobs_follow_one_another(
    browse: Browse, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    backlog.enqueue([make_job(f"job-{n:03d}", float(n)) for n in range(120)])
    client = browse()
    pages = [client.get(f"/jobs?state=ready&page={page}").text for page in (1, 2, 3)]
    shown = [[n for n in range(120) if f"/materials/job-{n:03d}" in page] for page in pages]
    assert shown == [list(range(50)), list(range(50, 100)), list(range(100, 120))]
    assert ['rel="next"' in page for page in pages] == [True, True, False]


def test_what_finished_last_is_shown_first_however_many_there_are(
    browse: Browse, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    jobs = [make_job(f"job-{n:04d}") for n in range(1101)]
    backlog.enqueue(jobs)
    first, last = [job.job_id for job in jobs[:1100]], jobs[1100].job_id
    assert len(backlog.cancel(first)) == 1100
    moment_s = backlog.now_s()
    while backlog.now_s() - moment_s < 0.002:
        pass
    backlog.cancel([last])
    section = browse().get("/jobs").text.partition("Finished in the last hour")[2]
    assert re.findall(r'/materials/(job-\d{4})"', section)[0] == "job-1100"


def test_a_form_of_another_site_is_refused(browse: Browse, guarded: Access) -> None:
    client = browse(guarded)
    elsewhere = {"Origin": "https://evil.example"}
    assert client.post("/login", data={"token": VIEW_TOKEN}, headers=elsewhere).status_code == 403
    assert "set-cookie" in client.post("/login", data={"token": VIEW_TOKEN}).headers


def test_who_looks_may_log_in_again_to_act(browse: Browse, guarded: Access) -> None:
    client = browse(guarded)
    for token, words in ((VIEW_TOKEN, "viewing"), (OPERATE_TOKEN, "operating")):
        assert client.post("/login", data={"token": token}).status_code == 303
        assert words in client.get("/").text


def test_a_cookie_over_https_is_for_https_alone(browse: Browse, guarded: Access) -> None:
    client = browse(guarded)
    plain = client.post("/login", data={"token": OPERATE_TOKEN})
    secure = client.post("https://127.0.0.1:8080/login", data={"token": OPERATE_TOKEN})
    assert "secure" not in plain.headers["set-cookie"].lower()
    assert "secure" in secure.headers["set-cookie"].lower()


def test_a_form_too_long_is_not_read(browse: Browse, guarded: Access) -> None:
    assert browse(guarded).post("/login", data={"token": "x" * 100_000}).status_code == 413


def test_what_cannot_be_chosen_is_said_in_words(browse: Browse, guarded: Access, backlog: Backlog) -> None:
    client = browse(guarded, headers={"Authorization": f"Bearer {OPERATE_TOKEN}"})
    for data, words in (
        ({}, "no job was chosen"),
        ({"job": "../../etc"}, "not a job id"),
        ({"state": "done"}, "not possible for jobs in state 'done'"),
    ):
        answer = client.post("/jobs/cancel", data=data)
        assert (answer.status_code, words in answer.json()["error"]) == (400, True)
    assert client.post("/jobs/explode", data={"state": "ready"}).status_code == 404
    assert not backlog.paused()


@contextmanager
def _farm(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "farm.cli.main", "--home", str(settings.home), *arguments]
    environment = {**os.environ, "FARM_REDIS_URL": str(settings.redis_url), "FARM_NAME": settings.name}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:  # a test that failed
                process.terminate()


def _serve(settings: Settings, port: int) -> AbstractContextManager[subprocess.Popen[str]]:
    return _farm(settings, "dashboard", "--port", str(port))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(json.load(answer)["ok"])
    except OSError:
        return False


def test_the_command_serves_and_stops_when_told(settings: Settings, tmp_path: Path) -> None:
    assert tmp_path == settings.home
    port = _free_port()
    with _serve(settings, port) as server:
        while not _is_up(port):
            assert server.poll() is None
            time.sleep(0.1)
        with _serve(settings, port) as second:
            _, said = second.communicate(timeout=60)
            assert second.returncode == 1
            assert said == (
                f"farm: 127.0.0.1, port {port}: Address already in use. "
                "Choose another with --host and --port\n"
            )
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert said.startswith(f"Dashboard: http://127.0.0.1:{port}")
    assert "Traceback" not in said


@pytest.mark.usefixtures("pw_x")
def test_a_farm_on_one_machine_brings_its_dashboard(settings: Settings) -> None:
    port = _free_port()
    with _farm(settings, "up", "--no-trainer", "--dashboard", str(port)) as up:
        while not _is_up(port):
            assert up.poll() is None
            time.sleep(0.1)
        other = settings.model_copy(update={"name": "other", "home": settings.home / "other"})
        with _farm(other, "up", "--no-trainer", "--dashboard", str(port)) as second:
            _, said = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"farm: dashboard does not start: 127.0.0.1, port {port}: Address already in use" in said
        up.send_signal(signal.SIGTERM)
        _, said = up.communicate(timeout=60)
    assert said.startswith(f"Dashboard: http://127.0.0.1:{port}\n")
    assert not _is_up(port)
