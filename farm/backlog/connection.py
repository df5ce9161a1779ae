"""The Redis of one farm: its keys, its scripts, its clock, and what its errors mean to a user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis

from farm.errors import BrokerError

# Scripts that must also work on a server that is full, because they free memory or keep what runs alive.
# Such a server refuses the others whole, before their first line.
_ALSO_WHEN_FULL = (
    "start",
    "renew",
    "finish",
    "give_back",
    "release_owner",
    "reap",
    "cancel",
    "lead",
)
_SCRIPTS = ("enqueue", "dispatch", "deliver", "retry", "prioritise", "place", "rescore", "select")


class Connection:
    """A client, the prefix of a farm's keys, and the Lua scripts beside this file."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self.redis = client
        self.prefix = f"{name}:"
        lua = resources.files("farm.backlog") / "lua"
        prelude = (lua / "transition.lua").read_text(encoding="utf-8")
        self._scripts = {}
        for script in (*_SCRIPTS, *_ALSO_WHEN_FULL):
            shebang = "#!lua flags=allow-oom\n" if script in _ALSO_WHEN_FULL else "#!lua\n"
            body = (lua / f"{script}.lua").read_text(encoding="utf-8")
            self._scripts[script] = client.register_script(shebang + prelude + body)

    def key(self, name: str) -> str:
        """The full key of a name."""
        return self.prefix + name

    def run(self, script: str, *arguments: Any) -> Any:
        """Call a script; it is atomic."""
        with broker_errors():
            return self._scripts[script](keys=[self.prefix], args=list(arguments))

    def run_many(self, script: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call a script once for each tuple of arguments, in one round trip; each call is atomic."""
        with broker_errors():
            pipeline = self.redis.pipeline(transaction=False)
            for arguments in calls:
                self._scripts[script](keys=[self.prefix], args=list(arguments), client=pipeline)
            return pipeline.execute()

    def now_s(self) -> float:
        """Redis' clock in seconds: the clocks of the hosts do not matter."""
        with broker_errors():
            seconds, microseconds = self.redis.time()
        return float(seconds + microseconds * 1e-6)


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what redis-py raises into one clear BrokerError."""
    try:
        yield
    except redis.exceptions.AuthenticationError as error:
        raise BrokerError(f"Redis refused the password: {error}", fix="Correct FARM_REDIS_URL") from error
    except redis.exceptions.BusyLoadingError as error:
        raise BrokerError("Redis is still loading its data", fix="Wait a moment") from error
    except redis.exceptions.ConnectionError as error:
        raise BrokerError(
            f"Redis cannot be reached: {error}",
            fix="Start it, correct FARM_REDIS_URL, or unset it to use an embedded one",
        ) from error
    except redis.exceptions.TimeoutError as error:
        raise BrokerError("Redis did not answer in time", fix="Check the host in FARM_REDIS_URL") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise BrokerError("Redis is full", fix="Raise maxmemory; nothing was lost") from error
    except redis.exceptions.NoPermissionError as error:
        raise BrokerError(
            f"Redis forbids this user a command: {error}", fix="Give it the rules of deploy/redis"
        ) from error
    except redis.exceptions.ResponseError as error:
        raise BrokerError(f"Redis refused a command: {error}") from error
