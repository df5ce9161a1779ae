"""What is to do and who does it: the jobs in Redis, in order of predicted CPU seconds.

Every change of state is one Lua script in ``farm/lua`` that names the state it expects. A job that
is handed out carries a *fencing token*; whoever comes back with an older one is refused. Redis can
be lost at any time: seeding again rebuilds everything here, and what the store holds is skipped.

Keys, all below ``<name>:``

=============== ====== ==================================================================
job:<id>        hash   state, record (msgpack of the Job), attempts, token, owner, stage ...
ready           zset   id -> place in the order (predicted CPU seconds)
leases          zset   id -> expiry in ms of Redis' clock, for dispatched and running jobs
outbox          hash   id -> packed result on its way to the store
outbox_at       zset   id -> when it was delivered
finished        zset   id -> when it reached a final state, the last thousand
counts          hash   state -> number of jobs
cpu             hash   spent, to_go (seconds)
stored          hash   materials, ipa, rpa in the store, as the writer counts them
workers         hash   name -> what it last said of itself (JSON)
refit           hash   what the trainer is doing and what it last fitted
=============== ====== ==================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any, cast

import msgpack
import redis

from farm.errors import BrokerError, LeaseLostError
from farm.job import FINAL_STATES, Engine, Job, JobState, Outcome

# What `farm retry` queues again.
RETRIED = (JobState.FAILED, JobState.CANCELLED, JobState.UNCONVERGED)
# A job gets into these only after the writer has its result on disk.
STORED = (JobState.DONE, JobState.METAL, JobState.UNCONVERGED)
_ENQUEUE_CHUNK = 500
_SCRIPTS = (
    "enqueue",
    "dispatch",
    "start",
    "renew",
    "deliver",
    "finish",
    "release",
    "release_owner",
    "reap",
    "cancel",
    "retry",
    "prioritise",
)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """One job handed out: the message to send."""

    job_id: str
    token: str
    formula: str
    engine: str

    @property
    def task_id(self) -> str:
        """The Celery id of the message; deterministic, so that a waiting message can be found."""
        return f"{self.job_id}:{self.token}"


@dataclass(frozen=True, kw_only=True)
class JobView:
    """A job as `farm jobs` shows it; times in ms of Redis' clock."""

    job_id: str
    state: JobState
    formula: str
    n_atoms: int
    predicted_cpu_s: float
    attempts: int
    stage: str
    owner: str
    reason: str
    cpu_s: float | None
    changed_ms: int

    @property
    def material_id(self) -> str:
        """The material, the first part of the id."""
        return self.job_id.split(".", 1)[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {"material": self.material_id, **vars(self), "state": self.state.value}


class Backlog:
    """The jobs of one farm. All methods raise BrokerError when Redis does not answer."""

    def __init__(self, client: redis.Redis, *, name: str = "farm") -> None:
        self._redis = client
        self._prefix = f"{name}:"
        lua = resources.files("farm") / "lua"
        prelude = (lua / "transition.lua").read_text(encoding="utf-8")
        self._scripts = {
            script: client.register_script(prelude + (lua / f"{script}.lua").read_text(encoding="utf-8"))
            for script in _SCRIPTS
        }

    # -- the backlog ---------------------------------------------------------------------------

    def enqueue(self, jobs: Iterable[Job], on_chunk: Callable[[int], None] = lambda _: None) -> int:
        """Add the jobs that are not known yet; returns how many were added."""
        added, chunk = 0, list[Any]()
        for job in jobs:
            crystal = job.crystal
            chunk += [job.job_id, msgpack.packb(job.to_dict()), crystal.formula]
            chunk += [crystal.n_atoms, job.predicted_cpu_s]
            if len(chunk) == 5 * _ENQUEUE_CHUNK:
                added += int(self._run("enqueue", *chunk))
                on_chunk(_ENQUEUE_CHUNK)
                chunk = []
        if chunk:
            added += int(self._run("enqueue", *chunk))
            on_chunk(len(chunk) // 5)
        return added

    def known(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """The state of each id that has a job."""
        ids = list(job_ids)
        with _broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hget(self._key("job:" + job_id), "state")
            states = pipeline.execute()
        return {i: JobState(s.decode()) for i, s in zip(ids, states, strict=True) if s is not None}

    def dispatch(
        self, window: int, lease_s: float, engines: Collection[str] = tuple(Engine)
    ) -> list[Dispatch]:
        """Take the cheapest jobs until ``window`` are dispatched and not yet started.

        engines: that somebody computes with; jobs for others stay
        """
        flat = self._run("dispatch", window, int(lease_s * 1000), *sorted(engines))
        rows = [flat[i : i + 4] for i in range(0, len(flat), 4)]
        return [
            Dispatch(
                job_id=job_id.decode(),
                token=token.decode(),
                formula=formula.decode(),
                engine=msgpack.unpackb(record)["engine"],
            )
            for job_id, token, formula, record in rows
        ]

    def reap(
        self, max_attempts: int, lease_s: float, waiting_ids: Iterable[str]
    ) -> list[tuple[str, JobState]]:
        """Bring back the jobs whose lease expired; ``waiting_ids`` still have their message."""
        flat = self._run("reap", max_attempts, int(lease_s * 1000), *waiting_ids)
        return [(flat[i].decode(), JobState(flat[i + 1].decode())) for i in range(0, len(flat), 2)]

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that is not finished; its worker kills the programs at its next heartbeat."""
        return bool(self._run("cancel", job_id))

    def retry(self, job_id: str) -> bool:
        """Queue a failed, cancelled or unconverged job again."""
        return bool(self._run("retry", job_id, *RETRIED))

    def redo(self, job_id: str) -> bool:
        """Queue a job again whose result the store had and lost."""
        return bool(self._run("retry", job_id, *STORED))

    def prioritise(self, job_id: str, place: float = -1.0) -> bool:
        """Put a ready job at another place in the order; -1 is before every other."""
        return bool(self._run("prioritise", job_id, place))

    def set_paused(self, paused: bool) -> None:
        """While paused nothing new is dispatched; what runs goes on."""
        with _broker_errors():
            if paused:
                self._redis.set(self._key("paused"), 1)
            else:
                self._redis.delete(self._key("paused"))

    # -- the worker ----------------------------------------------------------------------------

    def start(self, job_id: str, token: str, owner: str, lease_s: float) -> Job:
        """dispatched -> running. Raises LeaseLostError when the message is stale."""
        record = self._run("start", job_id, token, owner, int(lease_s * 1000))
        if not record:
            raise LeaseLostError(f"{job_id}: this message is stale; the job is elsewhere or finished")
        return Job.from_dict(msgpack.unpackb(record))

    def renew(self, job_id: str, token: str, lease_s: float, stage: str) -> bool:
        """Keep a running job; False when it is no longer ours."""
        return bool(self._run("renew", job_id, token, int(lease_s * 1000), stage))

    def deliver(self, job_id: str, token: str, payload: bytes) -> None:
        """The worker's commit. Raises LeaseLostError when the job is no longer ours."""
        if not self._run("deliver", job_id, token, payload):
            raise LeaseLostError(f"{job_id}: the lease died before the result came; it is not taken")

    def release(self, job_id: str, token: str, reason: str) -> bool:
        """Give a job back without counting an attempt."""
        return bool(self._run("release", job_id, token, reason))

    def release_owner(self, owner: str, reason: str) -> int:
        """Give back every job a worker holds, without counting attempts; returns how many."""
        return int(self._run("release_owner", owner, reason))

    def report_worker(self, name: str, state: Mapping[str, Any], ttl_s: float) -> None:
        """Say what a worker is; it is forgotten after ``ttl_s`` without another word."""
        with _broker_errors():
            until = self.now_s() + ttl_s
            self._redis.hset(self._key("workers"), name, json.dumps({**state, "until_s": until}))

    def forget_worker(self, name: str) -> None:
        """A worker that leaves in good order."""
        with _broker_errors():
            self._redis.hdel(self._key("workers"), name)

    def workers(self) -> list[dict[str, Any]]:
        """The workers that spoke lately, by name."""
        with _broker_errors():
            now = self.now_s()
            said = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("workers")))
        alive = [{"name": name.decode(), **json.loads(text)} for name, text in said.items()]
        return sorted((w for w in alive if w.pop("until_s") > now), key=lambda w: str(w["name"]))

    # -- the writer ----------------------------------------------------------------------------

    def outbox(self, job_id: str) -> bytes | None:
        """The packed result of a job that was delivered and is not stored yet."""
        with _broker_errors():
            return cast("bytes | None", self._redis.hget(self._key("outbox"), job_id))

    def undelivered(self, older_than_s: float = 0.0) -> list[str]:
        """Jobs whose result waits for the writer for at least that long, oldest first."""
        with _broker_errors():
            until = int((self.now_s() - older_than_s) * 1000)
            ids = cast("list[bytes]", self._redis.zrangebyscore(self._key("outbox_at"), "-inf", until))
        return [job_id.decode() for job_id in ids]

    def finish(self, job_id: str, outcome: Outcome, reason: str, cpu_s: float) -> bool:
        """The result is on disk: the job takes its final state."""
        return bool(self._run("finish", job_id, outcome.value, reason, cpu_s))

    # -- looking -------------------------------------------------------------------------------

    def counts(self) -> dict[JobState, int]:
        """Number of jobs in each state."""
        with _broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("counts")))
        return {state: int(raw.get(state.value.encode(), 0)) for state in JobState}

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds spent on finished jobs, and predicted for the unfinished."""
        with _broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("cpu")))
        return float(raw.get(b"spent", 0)), max(0.0, float(raw.get(b"to_go", 0)))

    def paused(self) -> bool:
        """True when nothing new is dispatched."""
        with _broker_errors():
            return bool(self._redis.exists(self._key("paused")))

    def job(self, job_id: str) -> JobView | None:
        """One job, or None."""
        return next(self._views([job_id]), None)

    def jobs(self, states: Iterable[JobState] | None = None) -> Iterator[JobView]:
        """All jobs, or those in the given states, in no order; reads in chunks."""
        wanted = set(states) if states is not None else None
        start = len(self._key("job:"))
        with _broker_errors():
            chunk: list[str] = []
            for key in self._redis.scan_iter(match=self._key("job:*"), count=1000):
                chunk.append(key.decode()[start:])
                if len(chunk) == 1000:
                    yield from self._in_states(chunk, wanted)
                    chunk = []
            yield from self._in_states(chunk, wanted)

    def leased(self) -> list[JobView]:
        """The dispatched and running jobs."""
        with _broker_errors():
            ids = cast("list[bytes]", self._redis.zrange(self._key("leases"), 0, -1))
        return list(self._views([job_id.decode() for job_id in ids]))

    def finished_since(self, moment_ms: int) -> list[JobView]:
        """Jobs that reached a final state after a moment of Redis' clock, oldest first (1000 at most)."""
        with _broker_errors():
            key = self._key("finished")
            ids = cast("list[bytes]", self._redis.zrangebyscore(key, f"({moment_ms}", "+inf"))
        return list(self._views([job_id.decode() for job_id in ids]))

    def ready_order(self, limit: int = -1) -> list[str]:
        """Ids of the ready jobs in the order they will be dispatched."""
        with _broker_errors():
            last = limit - 1 if limit > 0 else -1
            ids = cast("list[bytes]", self._redis.zrange(self._key("ready"), 0, last))
        return [job_id.decode() for job_id in ids]

    def now_s(self) -> float:
        """Redis' clock in seconds."""
        with _broker_errors():
            seconds, microseconds = self._redis.time()
        return seconds + microseconds * 1e-6

    def waiting_task_ids(self, queue: str) -> list[str]:
        """Celery ids of the messages that wait in a queue, read without taking them.

        A Celery queue on Redis is a list of JSON messages whose header carries the task id.
        """
        with _broker_errors():
            messages = cast("list[bytes]", self._redis.lrange(self._key(queue), 0, -1))
        return [str(json.loads(message)["headers"]["id"]) for message in messages]

    def stored_counts(self) -> dict[str, int]:
        """What the writer last said of the store: ``materials``, ``ipa``, ``rpa``."""
        with _broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("stored")))
        return {key.decode(): int(value) for key, value in raw.items()}

    def set_stored_counts(self, *, materials: int, ipa: int, rpa: int) -> None:
        """The writer's word on the store."""
        with _broker_errors():
            self._redis.hset(self._key("stored"), mapping={"materials": materials, "ipa": ipa, "rpa": rpa})

    # -- leadership and refits -----------------------------------------------------------------

    def lead(self, name: str, ttl_s: float) -> bool:
        """Become or stay the one scheduler that acts."""
        with _broker_errors():
            key = self._key("leader")
            if self._redis.set(key, name, nx=True, px=int(ttl_s * 1000)):
                return True
            if self._redis.get(key) != name.encode():
                return False
            return bool(self._redis.pexpire(key, int(ttl_s * 1000)))

    def refit_state(self) -> dict[str, str]:
        """What the trainer does: ``state`` (idle, queued, running), ``n_rpa`` last fitted, ..."""
        with _broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("refit")))
        return {key.decode(): value.decode() for key, value in raw.items()}

    def set_refit_state(self, **fields: str | int | float) -> None:
        """Update what the trainer does."""
        with _broker_errors():
            self._redis.hset(self._key("refit"), mapping=cast("Any", fields))

    # -- inside --------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return self._prefix + name

    def _run(self, script: str, *arguments: Any) -> Any:
        with _broker_errors():
            return self._scripts[script](keys=[self._prefix], args=list(arguments))

    def _in_states(self, ids: list[str], wanted: set[JobState] | None) -> Iterator[JobView]:
        return (view for view in self._views(ids) if wanted is None or view.state in wanted)

    def _views(self, ids: list[str]) -> Iterator[JobView]:
        names = ["state", "formula", "n_atoms", "predicted_cpu_s", "attempts"]
        names += ["stage", "owner", "reason", "cpu_s", "changed_ms"]
        with _broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hmget(self._key("job:" + job_id), names)
            rows = pipeline.execute()
        for job_id, row in zip(ids, rows, strict=True):
            if row[0] is None:
                continue
            text = [(value or b"").decode() for value in row]
            yield JobView(
                job_id=job_id,
                state=JobState(text[0]),
                formula=text[1],
                n_atoms=int(text[2]),
                predicted_cpu_s=float(text[3]),
                attempts=int(text[4]),
                stage=text[5],
                owner=text[6],
                reason=text[7],
                cpu_s=float(text[8]) if text[8] else None,
                changed_ms=int(text[9]),
            )


def unfinished(counts: Mapping[JobState, int]) -> int:
    """Jobs that have not reached a final state."""
    return sum(n for state, n in counts.items() if state not in FINAL_STATES)


@contextmanager
def _broker_errors() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.AuthenticationError as error:
        raise BrokerError(f"Redis refused the password: {error}", fix="Correct FARM_REDIS_URL") from error
    except redis.exceptions.ConnectionError as error:
        raise BrokerError(
            f"Redis cannot be reached: {error}",
            fix="Start it, correct FARM_REDIS_URL, or unset it to use an embedded one",
        ) from error
    except redis.exceptions.TimeoutError as error:
        raise BrokerError("Redis did not answer in time", fix="Check the host in FARM_REDIS_URL") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise BrokerError("Redis is full", fix="Raise maxmemory; nothing was lost") from error
