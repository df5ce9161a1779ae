"""``farm health``: what a container's health check asks."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from farm.backlog import Backlog
from farm.hold import Hold
from farm.listening import is_loopback

Run = Callable[..., tuple[int, str, str]]


def test_nobody_is_there(run: Run) -> None:
    for role in ("scheduler", "writer", "worker", "trainer"):
        code, out, err = run("health", role)
        assert (code, out) == (1, "")
        assert f"`farm {role}`" in err


def test_a_role_counts_on_its_own_host_only(run: Run, backlog: Backlog) -> None:
    backlog.roster.report_worker("worker@elsewhere.1", {"role": "worker", "slots": 1}, 60)
    assert run("health", "worker")[0] == 1
    assert run("health", "worker", "--any-host")[0] == 0
    here = f"worker@{socket.gethostname()}.7"
    backlog.roster.report_worker(here, {"role": "worker", "slots": 1}, 60, Hold("scratch is full"))
    code, out, _ = run("health", "worker", "--json")
    assert (code, json.loads(out)) == (0, {"role": "worker", "alive": [here]})
    assert run("health", "writer")[0] == 1


def test_a_scheduler_that_waits_is_alive_while_another_leads(run: Run, backlog: Backlog) -> None:
    backlog.roster.lead("other:1", 60)
    assert run("health", "scheduler")[:2] == (0, "other:1\n")


def test_a_redis_that_is_away_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_REDIS_URL", "redis://127.0.0.1:1/0")
    code, out, err = run("health", "writer")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert err.startswith("farm: ")


@pytest.mark.parametrize(
    ("host", "loops"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens
        ("::", False),
        ("10.0.0.1", False),
        ("head.cluster", False),
        ("localhost.example.org", False),
    ],
)
def test_loopback(host: str, loops: bool) -> None:
    assert is_loopback(host) is loops
