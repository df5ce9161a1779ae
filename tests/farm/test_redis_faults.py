"""Redis wiped, full, killed and shared; wrong clocks; records of another version. Real processes."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from farm_roles import FarmRoles
from redis_server import RedisServer

from farm.backlog import Backlog
from farm.cli.main import main
from farm.errors import BrokerError
from farm.job import Job, JobState
from farm.settings import Settings, load_settings

MakeJob = Callable[..., Job]
LEASE_S = 1.0
# A worker whose clock is an hour ahead.
AN_HOUR_AHEAD = (
    "import runpy, sys, time; real = time.time; time.time = lambda: real() + 3600; "
    "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, with an append-only file."""
    server = RedisServer(
        tmp_path / "redis", appendonly="yes", appendfsync="everysec", maxmemory_policy="noeviction"
    )
    server.start()
    yield server
    server.stop()


def settings_of(home: Path, server: RedisServer, name: str = "farm") -> Settings:
    fields = {"home": home / name, "redis_url": server.url, "lease_s": LEASE_S, "name": name}
    return load_settings(fields, environment={})


def n_done(roles: FarmRoles) -> int:
    """Worker's calculations end as metals."""
    return roles.backlog.counts()[JobState.METAL]


def test_after_a_wipe_seeding_rebuilds_what_is_not_done(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path, server)
    monkeypatch.setenv("FARM_HOME", str(settings.home))
    monkeypatch.setenv("FARM_REDIS_URL", server.url)

    def seed() -> dict[str, list[dict[str, str]]]:
        with pytest.raises(SystemExit):
            main(["seed", "--protocol", "demo", "--max-atoms", "2", "--limit", "6", "--json"])
        document: dict[str, list[dict[str, str]]] = json.loads(capsys.readouterr().out)
        return document

    every = [row["material"] for row in seed()["queued"]]
    with FarmRoles(settings, work_s=0.3) as roles:
        roles.wait_for(lambda: n_done(roles) >= 2)
        with server.admin() as admin:
            admin.flushdb()
        roles.wait_for(lambda: n_done(roles) == 0)
        time.sleep(1.0)  # who was at work learns that his job is gone
        kept = set(roles.stored())
        again = seed()
        assert {row["material"] for row in again["skipped"]} == kept
        assert {row["material"] for row in again["queued"]} == set(every) - kept
        roles.wait_for(lambda: len(roles.stored()) == len(every))
        assert roles.stored() == Counter(every)
        starts = Counter(roles.starts())
    assert all(starts[material] == 1 for material in every[:2])  # what was done was not done again


def test_a_full_redis_says_so_and_costs_no_result(
    tmp_path: Path, server: RedisServer, make_job: MakeJob
) -> None:
    with FarmRoles(settings_of(tmp_path, server), work_s=2.0 * LEASE_S) as roles, server.admin() as admin:
        roles.backlog.enqueue([make_job()])
        roles.wait_for(lambda: roles.starts() == ["MgO"])
        admin.config_set("maxmemory", "1")
        with pytest.raises(BrokerError, match=r"Redis is full\. Raise maxmemory"):
            roles.backlog.enqueue([make_job("Next")])
        full_until = time.monotonic() + 4.0 * LEASE_S
        roles.wait_for(lambda: time.monotonic() > full_until)
        view = roles.backlog.job(make_job().job_id)
        assert view is not None
        assert view.state is JobState.RUNNING  # its lease was renewed all the while
        assert roles.backlog.undelivered() == []
        admin.config_set("maxmemory", "0")
        roles.wait_for(lambda: n_done(roles) == 1)
        assert roles.stored() == Counter(["MgO"])
        assert roles.starts() == ["MgO"]


def test_a_redis_that_is_killed_for_three_seconds_loses_nothing(
    tmp_path: Path, server: RedisServer, make_job: MakeJob
) -> None:
    names = [f"M{i}" for i in range(6)]
    with FarmRoles(settings_of(tmp_path, server), work_s=0.5, workers=2) as roles:
        roles.backlog.enqueue(make_job(name, float(i)) for i, name in enumerate(names))
        roles.wait_for(lambda: len(roles.starts()) >= 3)
        server.kill()
        time.sleep(3.0)
        server.start()
        roles.wait_for(lambda: n_done(roles) == len(names))
        assert roles.stored() == Counter(names)


def test_a_worker_whose_clock_is_wrong_is_like_any_other(
    tmp_path: Path, server: RedisServer, make_job: MakeJob
) -> None:
    settings = settings_of(tmp_path, server)
    with FarmRoles(settings, work_s=2.5 * LEASE_S, before=["-c", AN_HOUR_AHEAD]) as roles:
        roles.backlog.enqueue([make_job("First", 1.0), make_job("Second", 2.0)])
        roles.wait_for(lambda: n_done(roles) == 2)
        assert roles.starts() == ["First", "Second"]  # neither was taken for lost
        assert roles.stored() == Counter(["First", "Second"])
        assert [w["role"] for w in roles.backlog.roster.workers()] == ["worker", "writer"]


def test_farms_on_one_redis_do_not_touch_each_other(
    tmp_path: Path, server: RedisServer, make_job: MakeJob
) -> None:
    with (
        FarmRoles(settings_of(tmp_path, server, "one")) as one,
        FarmRoles(settings_of(tmp_path, server, "two")) as two,
    ):
        one.backlog.enqueue([make_job("Ours")])
        two.backlog.enqueue([make_job("Theirs")])
        one.wait_for(lambda: n_done(one) == 1)
        assert two.starts() == []  # nobody ticked there
        two.wait_for(lambda: n_done(two) == 1)
        assert (one.starts(), two.starts()) == (["Ours"], ["Theirs"])
        ours, theirs = one.answering(), two.answering()
        assert (len(ours), len(theirs)) == (2, 2), (ours, theirs)  # a worker and the writer
        assert not ours & theirs


def test_a_record_of_another_version_fails_with_a_reason_and_is_seeded_anew(
    tmp_path: Path, server: RedisServer, make_job: MakeJob
) -> None:
    job = make_job()
    with FarmRoles(settings_of(tmp_path, server)) as roles, server.admin() as admin:
        roles.backlog.enqueue([job])
        admin.hset("farm:records", job.job_id, b"\x80")  # msgpack of an empty map
        roles.wait_for(lambda: roles.backlog.counts()[JobState.FAILED] == 1)
        view = roles.backlog.job(job.job_id)
        assert view is not None
        assert "version" in view.reason
        assert roles.starts() == []
        assert Backlog(admin).enqueue([job]) == 1
        roles.wait_for(lambda: n_done(roles) == 1)
        assert roles.stored() == Counter(["MgO"])
