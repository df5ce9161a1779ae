"""The jobs of a farm and everything that moves them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from farm.backlog.connection import broker_errors
from farm.backlog.records import pack_protocol, pack_record, unpack_job
from farm.backlog.register import Register
from farm.cost_model import CostModel
from farm.cost_prior import CostPrior
from farm.errors import InputError, LeaseLostError
from farm.job import FINAL_STATES, QUEUES, Cause, Job, JobState, Outcome, make_task_id, split_job_id

# What `farm retry` queues again.
RETRIED = (JobState.FAILED, JobState.CANCELLED, JobState.UNCONVERGED)
# A job gets into these only after the writer has its result on disk.
STORED = (JobState.DONE, JobState.METAL, JobState.UNCONVERGED)
_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """One job handed out: the message to send."""

    job_id: str
    token: str
    formula: str
    queue: str

    @property
    def task_id(self) -> str:
        """The Celery id of the message; deterministic, so that a waiting message can be found."""
        return make_task_id(self.job_id, self.token)


@dataclass(frozen=True, kw_only=True)
class Finish:
    """How a job ended whose result is on disk; ``cpu_s`` in user + system seconds."""

    job_id: str
    outcome: Outcome
    reason: str
    cpu_s: float


class Backlog(Register):
    """The jobs of one farm. All methods raise BrokerError when Redis does not answer."""

    # -- the backlog ---------------------------------------------------------------------------

    def enqueue(self, jobs: Iterable[Job]) -> int:
        """Add the jobs that are not known yet; returns how many were added.

        One that was refused because another version had written its record is written anew.
        """
        added, rows, protocols = 0, list[Any](), dict[str, bytes]()
        for job in jobs:
            key = job.protocol_hash[:12]
            if key not in protocols:
                protocols[key] = pack_protocol(job.protocol_hash, job.protocol)
                with broker_errors():
                    self._redis.hset(self._key("protocols"), key, protocols[key])
            rows += [job.job_id, pack_record(job), job.crystal.formula]
            rows += [job.crystal.n_atoms, _short(job.predicted_cpu_s), job.queue]
            if len(rows) == 6 * _CHUNK:
                added += int(self.connection.run("enqueue", *rows))
                rows = []
        if rows:
            added += int(self.connection.run("enqueue", *rows))
        return added

    def dispatch(
        self, window: int, lease_s: float, queues: Mapping[str, int] | None = None
    ) -> list[Dispatch]:
        """Take the first jobs in the order until ``window`` are dispatched and not yet started.

        queues: how many of each may be dispatched at once, for queues that somebody serves; jobs of others
            stay where they are. None: as many of each as of all
        """
        limits = dict.fromkeys(QUEUES, window) if queues is None else queues
        pairs = [item for pair in sorted(limits.items()) for item in pair]
        flat = self.connection.run("dispatch", window, int(lease_s * 1000), *pairs)
        rows = [[item.decode() for item in flat[i : i + 4]] for i in range(0, len(flat), 4)]
        return [Dispatch(job_id=i, token=t, formula=f, queue=q) for i, t, f, q in rows]

    def n_expired(self) -> int:
        """How many leases have run out."""
        with broker_errors():
            until = int(self.now_s() * 1000)
            return int(self._redis.zcount(self._key("leases"), "-inf", until))

    def reap(
        self, max_attempts: int, lease_s: float, waiting_ids: Iterable[str]
    ) -> list[tuple[str, JobState]]:
        """Bring back the jobs whose lease expired; ``waiting_ids`` still have their message."""
        flat = self.connection.run("reap", max_attempts, int(lease_s * 1000), *waiting_ids)
        return [(flat[i].decode(), JobState(flat[i + 1].decode())) for i in range(0, len(flat), 2)]

    def cancel(self, job_ids: Sequence[str]) -> list[str]:
        """Cancel jobs that are not finished; their workers kill the programs at the next heartbeat.

        Returns the ids of those that were cancelled, as the next two methods do of those they queued.
        """
        return self._each("cancel", [(job_id,) for job_id in job_ids])

    def retry(self, job_ids: Sequence[str]) -> list[str]:
        """Queue failed, cancelled or unconverged jobs again."""
        return self._each("retry", [(job_id, "", *RETRIED) for job_id in job_ids])

    def redo(self, jobs: Sequence[Job]) -> list[str]:
        """Queue jobs again whose results the store had and lost."""
        return self._each("retry", [(job.job_id, pack_record(job), *STORED) for job in jobs])

    def prioritise(self, job_ids: Sequence[str]) -> list[str]:
        """Put ready jobs before all others, in the order given; the ids of those that were ready."""
        moved: list[str] = []
        # Each chunk goes before all others, so the last one first.
        for first in reversed(range(0, len(job_ids), _CHUNK)):
            chunk = job_ids[first : first + _CHUNK]
            found = self.connection.run("prioritise", len(QUEUES), *QUEUES, *chunk)
            moved = [job_id.decode() for job_id in found] + moved
        return moved

    def place(self, places: Mapping[str, float | None]) -> int:
        """Put ready jobs at places among predicted CPU seconds, None: back to that of their cost.

        The number of those that were ready.
        """
        return self._in_chunks("place", places)

    def rescore(self, costs_s: Mapping[str, float]) -> int:
        """New predictions for ready jobs; those that were put at a place of their own stay there."""
        return self._in_chunks("rescore", costs_s)

    def ready_priors(self, queue: str, cursor: int, count: int) -> tuple[int, dict[str, CostPrior]]:
        """Go through the ready jobs of a queue: the next cursor (0: through) and some cost priors by id.

        What is ready all the time is met at least once.
        """
        with broker_errors():
            answer = self._redis.zscan(self._key("ready:" + queue), cursor=cursor, count=count)
            following, pairs = cast("tuple[int, list[tuple[bytes, float]]]", answer)
        return following, self.priors([job_id.decode() for job_id, _ in pairs])

    def set_paused(self, paused: bool) -> None:
        """While paused nothing new is dispatched; what runs goes on."""
        with broker_errors():
            if paused:
                self._redis.set(self._key("paused"), 1)
            else:
                self._redis.delete(self._key("paused"))
                self._redis.lpush(self._key("wake"), 1)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something happens that makes room or brings work; True when it did."""
        with broker_errors():
            return self._redis.blpop([self._key("wake")], timeout=timeout_s) is not None

    # -- the worker ----------------------------------------------------------------------------

    def start(self, job_id: str, token: str, owner: str, lease_s: float) -> Job:
        """dispatched -> running.

        Raises LeaseLostError when the message is stale, and InputError for a job of another version, which
        has failed then.
        """
        split_job_id(job_id)
        found = self.connection.run("start", job_id, token, owner, int(lease_s * 1000))
        if not found:
            raise LeaseLostError(f"{job_id}: this message is stale; the job is elsewhere or finished")
        record, protocol, cost, queue = found
        try:
            return unpack_job(job_id, record or b"", protocol, float(cost), queue.decode())
        except InputError as error:
            self.give_back(job_id, token, str(error), cause=Cause.STALE, bound=1)
            raise

    def renew(self, job_id: str, token: str, lease_s: float, stage: str) -> bool:
        """Keep a running job; False when it is no longer ours."""
        return bool(self.connection.run("renew", job_id, token, int(lease_s * 1000), stage))

    def deliver(self, job_id: str, token: str, payload: bytes) -> bool:
        """The worker's commit; True when the writer has to be told, False when others wait before it.

        Raises LeaseLostError when the job is no longer ours.
        """
        waiting = int(self.connection.run("deliver", job_id, token, payload))
        if not waiting:
            raise LeaseLostError(f"{job_id}: the lease died before the result came; it is not taken")
        return waiting == 1

    def give_back(
        self,
        job_id: str,
        token: str,
        reason: str,
        *,
        cause: Cause | None = None,
        bound: int = 0,
        keep: bool = False,
        queue: str = "",
    ) -> JobState | None:
        """The holder gives a job back: the state it is in then, None when it was not the holder's.

        cause: what is counted; None: nothing is
        bound: at this count the job does not go back but has failed
        keep:  at the bound the holder keeps it, running, instead
        queue: where it goes from now on, for a slot of another class; empty: the same
        """
        counted = cause.value if cause else ""
        state = self.connection.run("give_back", job_id, token, reason, counted, bound, int(keep), queue)
        return JobState(state.decode()) if state else None

    def release_owner(self, owner: str, reason: str) -> int:
        """Give back every job a worker holds, without counting; returns how many."""
        return int(self.connection.run("release_owner", owner, reason))

    # -- the writer ----------------------------------------------------------------------------

    def payloads(self, job_ids: Sequence[str]) -> dict[str, bytes]:
        """The packed results of those of some jobs that wait for the writer."""
        if not job_ids:
            return {}
        with broker_errors():
            found = cast("list[bytes | None]", self._redis.hmget(self._key("outbox"), list(job_ids)))
        return {job_id: packed for job_id, packed in zip(job_ids, found, strict=True) if packed is not None}

    def undelivered(self, older_than_s: float = 0.0, limit: int | None = None) -> list[str]:
        """Jobs whose result waits for the writer for at least that long, oldest first."""
        with broker_errors():
            until = int((self.now_s() - older_than_s) * 1000)
            key, num = self._key("outbox_at"), -1 if limit is None else limit
            ids = cast("list[bytes]", self._redis.zrangebyscore(key, "-inf", until, start=0, num=num))
        return [job_id.decode() for job_id in ids]

    def finish(self, ends: Sequence[Finish]) -> list[bool]:
        """The results are on disk: the jobs take their final states; False for what was finished before."""
        rows = [(end.job_id, end.outcome.value, end.reason, round(end.cpu_s, 3)) for end in ends]
        return [bool(done) for done in self.connection.run_many("finish", rows)]

    def set_cost_model(self, kind: str, model: CostModel) -> None:
        """What measured jobs taught, for the next predictions."""
        with broker_errors():
            self._redis.hset(self._key("cost_models"), kind, model.pack())

    # -- Celery's lists ------------------------------------------------------------------------

    def waiting_task_ids(self, queue: str) -> list[str]:
        """Celery ids of the messages that wait in a Celery queue, read without taking them.

        Such a queue is a list of JSON messages whose header carries the id; what is none is passed over.
        """
        with broker_errors():
            messages = cast("list[bytes]", self._redis.lrange(self._key(queue), 0, -1))
        return list(_task_ids(messages))

    def n_waiting(self, queue: str) -> int:
        """How many messages wait in a Celery queue."""
        with broker_errors():
            return int(self._redis.llen(self._key(queue)))

    # -- inside --------------------------------------------------------------------------------

    def _each(self, script: str, calls: Sequence[tuple[Any, ...]]) -> list[str]:
        changed: list[str] = []
        for first in range(0, len(calls), _CHUNK):
            chunk = calls[first : first + _CHUNK]
            done = self.connection.run_many(script, chunk)
            changed += [str(call[0]) for call, was in zip(chunk, done, strict=True) if was]
        return changed

    def _in_chunks(self, script: str, numbers: Mapping[str, float | None] | Mapping[str, float]) -> int:
        changed, rows = 0, list(numbers.items())
        for first in range(0, len(rows), _CHUNK):
            flat = [
                item
                for job_id, x in rows[first : first + _CHUNK]
                for item in (job_id, "" if x is None else _short(x))
            ]
            changed += int(self.connection.run(script, *flat))
        return changed


def unfinished(counts: Mapping[JobState, int]) -> int:
    """Jobs that have not reached a final state."""
    return sum(n for state, n in counts.items() if state not in FINAL_STATES)


def _task_ids(messages: Collection[bytes]) -> Iterator[str]:
    for message in messages:
        try:
            yield str(json.loads(message)["headers"]["id"])
        except (ValueError, KeyError, TypeError):
            continue  # whatever it is, a worker refuses it


def _short(seconds: float) -> str:
    """Nine digits: more cost memory in a million jobs and say nothing."""
    return f"{seconds:.9g}"
