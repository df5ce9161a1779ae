"""The Redis of one farm: its keys, its scripts, its clock, and what its errors mean to a user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis

from farm.redis_errors import explained

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
        """Call a script once for each tuple of arguments, in two round trips; each call is atomic."""
        if not calls:
            return []
        # The first call makes the script known to the server; the others name it by its hash.
        first, sha = self.run(script, *calls[0]), self._scripts[script].sha
        with broker_errors():
            pipeline = self.redis.pipeline(transaction=False)
            for arguments in calls[1:]:
                pipeline.evalsha(sha, 1, self.prefix, *arguments)
            return [first, *pipeline.execute()]

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
    except redis.exceptions.RedisError as error:
        raise explained(error) from error
