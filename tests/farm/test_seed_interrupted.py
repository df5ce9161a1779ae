"""`farm seed` killed, stopped, and without Redis: what was queued stays, and the same command goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from redis_server import RedisServer
from seed_samples import entry, write_entries

from farm.backlog import Backlog
from farm.job import JobState

N_ENTRIES = 1200
_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_entries(
        tmp_path_factory.mktemp("source") / "x.json.bz2", [entry(n) for n in range(N_ENTRIES)]
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    # With "everysec" what was answered may be gone when the disk is slow.
    server = RedisServer(tmp_path / "redis", appendonly="yes", appendfsync="always")
    server.start()
    yield server
    server.stop()


class Seeding:
    """One `farm seed` in a process of its own."""

    def __init__(self, source: Path, home: Path, url: str, *flags: str) -> None:
        environment = {**os.environ, "FARM_REDIS_URL": url, "FARM_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "farm.cli.main", "seed", str(source), "--protocol", "demo", *flags],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # signals to its group do not reach the tests
        )

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=_WITHIN_S)
        return self.process.returncode, out, err


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def n_ready(backlog: Backlog) -> int:
    return backlog.counts()[JobState.READY]


def assert_each_once(backlog: Backlog) -> None:
    views = list(backlog.jobs())
    assert {view.material_id for view in views} == {f"m{n}" for n in range(N_ENTRIES)}
    assert len(views) == n_ready(backlog) == len(backlog.ready_order()) == N_ENTRIES
    # What is counted with every queued job: nothing was counted twice.
    assert backlog.cpu_s()[1] == pytest.approx(sum(view.predicted_cpu_s for view in views))


def queued_in_words(text: str) -> int:
    (number,) = re.findall(r"([\d,]+) crystals were queued and stay", text)
    return int(number.replace(",", ""))


@pytest.mark.parametrize(("n_queued", "processes"), [(1, "1"), (100, "2"), (700, "2")])
def test_killed_anywhere_and_typed_again_the_rest_is_queued(
    source: Path, tmp_path: Path, backlog: Backlog, redis_url: str, n_queued: int, processes: str
) -> None:
    seeding = Seeding(source, tmp_path, redis_url, "--processes", processes)
    wait_until(lambda: n_ready(backlog) >= n_queued)
    started = psutil.Process(seeding.process.pid).children(recursive=True)
    seeding.process.kill()
    seeding.end()
    before = n_ready(backlog)
    assert n_queued <= before < N_ENTRIES
    assert psutil.wait_procs(started, timeout=10)[1] == []
    code, out, err = Seeding(source, tmp_path, redis_url, "--processes", processes).end()
    assert (code, err) == (0, "")
    assert f"queued {N_ENTRIES - before:,}, skipped {before:,}, rejected 0" in out
    assert_each_once(backlog)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_one_line_and_keeps_what_was_queued(
    source: Path, tmp_path: Path, backlog: Backlog, redis_url: str, number: signal.Signals
) -> None:
    seeding = Seeding(source, tmp_path, redis_url, "--processes", "2", "--json")
    wait_until(lambda: n_ready(backlog) >= 400)
    os.killpg(seeding.process.pid, number)  # as a terminal does
    code, out, err = seeding.end()
    assert (code, out, err.count("\n")) == (128 + number, "", 1), err
    assert "the same command goes on from there" in err
    assert 400 <= queued_in_words(err) == n_ready(backlog) < N_ENTRIES


def test_redis_that_dies_in_the_middle_is_one_line(
    source: Path, tmp_path: Path, server: RedisServer
) -> None:
    with server.admin() as client:
        seeding = Seeding(source, tmp_path, server.url, "--processes", "2")
        wait_until(lambda: n_ready(Backlog(client)) >= 400)
        server.kill()
        code, out, err = seeding.end()
        assert (code, out, err.count("\n")) == (1, "", 1), err
        assert err.startswith("farm: Redis ")
        server.start()
        backlog = Backlog(client)
        # The batch whose answer was lost may be there besides.
        assert queued_in_words(err) <= n_ready(backlog) < N_ENTRIES
        assert Seeding(source, tmp_path, server.url).end()[0] == 0
        assert_each_once(backlog)


def test_a_full_redis_is_one_line(source: Path, tmp_path: Path, server: RedisServer) -> None:
    with server.admin() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 400_000)
        code, out, err = Seeding(source, tmp_path, server.url).end()
        assert (code, out, err.count("\n")) == (1, "", 1), err
        assert "Redis is full" in err
        backlog = Backlog(client)
        assert 0 < queued_in_words(err) == n_ready(backlog) < N_ENTRIES
        code, _, again = Seeding(source, tmp_path, server.url).end()
        assert (code, queued_in_words(again), n_ready(backlog)) == (1, 0, queued_in_words(err))
        client.config_set("maxmemory", 0)
        assert Seeding(source, tmp_path, server.url).end()[0] == 0
        assert_each_once(backlog)


def test_without_redis_nothing_is_parsed(source: Path, tmp_path: Path) -> None:
    code, out, err = Seeding(source, tmp_path, "redis://127.0.0.1:1/0").end()
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert "Redis cannot be reached" in err
