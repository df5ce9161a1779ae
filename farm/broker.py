"""The Redis of this farm, checked before anything is asked of it: the configured one, or an embedded one.

Everything that redis-py and Celery must know of a server (host, user, password, certificates) stands in its
URL, so that both connect alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis

from farm.embedded_redis import embedded_url, running_or_started, server_program
from farm.errors import BrokerError, SettingsError
from farm.redis_errors import explained
from farm.settings import Settings

__all__ = ["broker_url", "complete_url", "connect", "revive", "server_program", "tls_options"]

_FORM = "Use redis[s]://[user:password@]host[:port]/0"
# Settings that name a file, and the options of both clients that they become.
_TLS_FILES = {
    "redis_ca_file": "ssl_ca_certs",
    "redis_cert_file": "ssl_certfile",
    "redis_key_file": "ssl_keyfile",
}


@contextmanager
def broker_url(settings: Settings) -> Iterator[str]:
    """The URL of a Redis that answers and lets this farm work, for as long as the context lasts.

    Raises BrokerError when a configured Redis does not answer or forbids what is needed, SettingsError when
    its settings contradict each other, MissingProgramError when there is no server to embed.
    """
    if not settings.redis_url:
        if files := _certificates(settings):
            raise SettingsError(f"{min(files)} is set, but redis_url is not", fix=_FORM)
        with embedded_url(settings.home / "redis") as url:
            yield url
        return
    url = complete_url(settings, settings.redis_url)
    with connect(url) as client:
        _check_rights(client, settings.name)
    yield url


def revive(settings: Settings) -> None:
    """Start an embedded Redis again that died, where it was; a configured one is somebody else's care."""
    if not settings.redis_url:
        running_or_started(settings.home / "redis")


def connect(url: str) -> redis.Redis:
    """A client whose server has answered. Raises BrokerError in one clear line otherwise."""
    try:
        client = redis.Redis.from_url(url, socket_keepalive=True, health_check_interval=25)
    except ValueError as error:
        raise BrokerError(f"FARM_REDIS_URL is not a Redis URL: {error}", fix=_FORM) from error
    try:
        client.ping()
    except TypeError as error:
        raise BrokerError(f"FARM_REDIS_URL has an unknown option: {error}", fix=_FORM) from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise explained(error) from error
    return client


def complete_url(settings: Settings, url: str) -> str:
    """A URL of Redis with the files of the certificates that the settings name.

    Both clients take TLS from the URL, but Celery's does not check the server's certificate unless told to:
    anybody between could read the password. So every ``rediss://`` says that it is to be checked.

    Raises SettingsError for a URL that is none, and for certificates that would not be used or are missing.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise SettingsError(f"redis_url is not a Redis URL: {error}", fix=_FORM) from error
    if not known or (not parts.path.removeprefix("/").isdigit() and parts.path not in ("", "/")):
        raise SettingsError("redis_url is not a Redis URL", fix=_FORM)
    options = dict(parse_qsl(parts.query))
    files = _certificates(settings)
    if parts.scheme == "redis":
        if files:
            raise SettingsError(f"{min(files)} is set, but redis_url asks for no TLS", fix="Use rediss://")
        return parts.geturl()
    if options.get("ssl_cert_reqs", "required") != "required":
        raise SettingsError(
            "redis_url: ssl_cert_reqs would give the password to anybody", fix="Set redis_ca_file instead"
        )
    options["ssl_cert_reqs"] = "required"
    for name, path in files.items():
        options[_TLS_FILES[name]] = str(_existing(name, path))
    return parts._replace(query=urlencode(options)).geturl()


def tls_options(url: str) -> dict[str, str]:
    """The options of a completed URL that concern TLS; none without it. For Flower, which reads no URL."""
    wanted = {"ssl_cert_reqs", *_TLS_FILES.values()}
    return {name: value for name, value in parse_qsl(urlsplit(url).query) if name in wanted}


def _certificates(settings: Settings) -> dict[str, Path]:
    given: dict[str, Path | None] = {name: getattr(settings, name) for name in _TLS_FILES}
    return {name: settings.home / path.expanduser() for name, path in given.items() if path is not None}


def _existing(name: str, path: Path) -> Path:
    if not path.is_file():
        raise SettingsError(f"{name}: {path}: no such file")
    return path


def _check_rights(client: redis.Redis, name: str) -> None:
    """Ask for one of everything that a farm does, and change nothing: a denial is told here, once.

    Otherwise it would be told by whatever role meets it first, deep inside Celery.
    """
    database = client.connection_pool.connection_kwargs.get("db", 0)
    channel = f"{name}:/{database}.celery.pidbox"
    try:
        client.hget(f"{name}:counts", "ready")
        client.zrem(f"{name}:leases", "")
        client.eval("return redis.call('TIME')", 0)
        client.publish(channel, "")
        with client.pubsub() as listener:  # type: ignore[no-untyped-call]  # redis-py has no type here
            listener.psubscribe(channel)
            listener.parse_response()
    except redis.exceptions.NoPermissionError as error:
        raise BrokerError(
            f"Redis forbids what farm '{name}' needs: {error}",
            fix=f"Give its user the rules of deploy/redis/users.acl.example, with ~{name}:*",
        ) from error
    except redis.exceptions.RedisError as error:
        raise explained(error) from error
