"""Who is there: the workers, the scheduler that leads, the trainer, and what the writer counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from farm.backlog.connection import Connection, broker_errors
from farm.hold import Hold


class Roster:
    """The roles of one farm. All methods raise BrokerError when Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._redis = connection.redis
        self._key = connection.key

    def report_worker(
        self, name: str, state: Mapping[str, Any], ttl_s: float, hold: Hold | None = None
    ) -> None:
        """Say what a worker is, and why it takes no jobs; it is forgotten ``ttl_s`` after its last word."""
        with broker_errors():
            until = self._connection.now_s() + ttl_s
            said = {**state, **_told(hold), "until_s": until}
            self._redis.hset(self._key("workers"), name, json.dumps(said))

    def forget_worker(self, name: str) -> None:
        """A worker that leaves in good order."""
        with broker_errors():
            self._redis.hdel(self._key("workers"), name)
            self._redis.hdel(self._key("holds"), name)

    def workers(self) -> list[dict[str, Any]]:
        """The workers that spoke lately, by name.

        Those that take no jobs have a ``hold`` that says why, and ``leaving``: whether it is because their
        time here ends, which is no trouble.
        """
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
                if "hold" not in worker and (hold := _current_hold(holds.get(name), now)):
                    worker |= _told(hold)
                alive.append(worker)
        return sorted(alive, key=lambda worker: str(worker["name"]))

    def hold(self, name: str, hold: Hold, for_s: float) -> None:
        """Let a worker take no jobs for a while, and say why."""
        with broker_errors():
            until = self._connection.now_s() + for_s
            self._redis.hset(
                self._key("holds"),
                name,
                json.dumps({"reason": hold.reason, "leaving": hold.is_leaving, "until_s": until}),
            )

    def held(self, name: str) -> Hold | None:
        """Why a worker should take no jobs now; None when it may."""
        with broker_errors():
            text = cast("bytes | None", self._redis.hget(self._key("holds"), name))
        return _current_hold(text, self._connection.now_s()) if text else None

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


def _told(hold: Hold | None) -> dict[str, Any]:
    return {} if hold is None else {"hold": hold.reason, "leaving": hold.is_leaving}


def _current_hold(text: bytes | None, now_s: float) -> Hold | None:
    if text is None:
        return None
    told = json.loads(text)
    # A worker of an older version does not say whether it leaves.
    return Hold(told["reason"], told.get("leaving", False)) if told["until_s"] > now_s else None
