"""Who is there: the workers, the scheduler that leads, the trainer, and what the writer counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from farm.backlog.connection import Connection, broker_errors


class Roster:
    """The roles of one farm. All methods raise BrokerError when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._redis = connection.redis
        self._key = connection.key

    def report_worker(self, name: str, state: Mapping[str, Any], ttl_s: float) -> None:
        """Say what a worker is; it is forgotten after ``ttl_s`` without another word."""
        with broker_errors():
            until = self._connection.now_s() + ttl_s
            self._redis.hset(self._key("workers"), name, json.dumps({**state, "until_s": until}))

    def forget_worker(self, name: str) -> None:
        """A worker that leaves in good order."""
        with broker_errors():
            self._redis.hdel(self._key("workers"), name)
            self._redis.hdel(self._key("holds"), name)

    def workers(self) -> list[dict[str, Any]]:
        """The workers that spoke lately, by name; those that take no jobs have a ``hold`` that says why."""
        with broker_errors():
            now = self._connection.now_s()
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hgetall(self._key("workers"))
            pipeline.hgetall(self._key("holds"))
            said, holds = cast("list[dict[bytes, bytes]]", pipeline.execute())
        alive = []
        for name, text in said.items():
            worker = {"name": name.decode(), **json.loads(text)}
            if worker.pop("until_s") > now:
                if hold := _current_hold(holds.get(name), now):
                    worker.setdefault("hold", hold)
                alive.append(worker)
        return sorted(alive, key=lambda worker: str(worker["name"]))

    def hold(self, name: str, reason: str, for_s: float) -> None:
        """Let a worker take no jobs for a while, and say why."""
        with broker_errors():
            until = self._connection.now_s() + for_s
            self._redis.hset(self._key("holds"), name, json.dumps({"reason": reason, "until_s": until}))

    def held(self, name: str) -> str:
        """Why a worker should take no jobs now; empty when it may."""
        with broker_errors():
            text = cast("bytes | None", self._redis.hget(self._key("holds"), name))
        return _current_hold(text, self._connection.now_s()) if text else ""

    def lead(self, name: str, ttl_s: float) -> bool:
        """Become or stay the one scheduler that acts; ``ttl_s`` of 0 gives the lead away."""
        return bool(self._connection.run("lead", name, int(ttl_s * 1000)))

    def leader(self) -> str:
        """The scheduler that leads; empty where none does."""
        with broker_errors():
            name = cast("bytes | None", self._redis.get(self._key("leader")))
        return name.decode() if name else ""

    def refit_state(self) -> dict[str, str]:
        """What the trainer does: ``state`` (idle, queued, running), ``n_rpa`` last fitted, ..."""
        with broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("refit")))
        return {key.decode(): value.decode() for key, value in raw.items()}

    def set_refit_state(self, **fields: str | int | float) -> None:
        """Update what the trainer does."""
        with broker_errors():
            self._redis.hset(self._key("refit"), mapping=cast("Any", fields))

    def stored_counts(self) -> dict[str, int]:
        """What the writer last said of the store: ``materials``, ``ipa``, ``rpa``."""
        with broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("stored")))
        return {key.decode(): int(value) for key, value in raw.items()}

    def set_stored_counts(self, *, materials: int, ipa: int, rpa: int) -> None:
        """The writer's word on the store."""
        with broker_errors():
            self._redis.hset(self._key("stored"), mapping={"materials": materials, "ipa": ipa, "rpa": rpa})


def _current_hold(text: bytes | None, now_s: float) -> str:
    if text is None:
        return ""
    hold = json.loads(text)
    return str(hold["reason"]) if hold["until_s"] > now_s else ""
