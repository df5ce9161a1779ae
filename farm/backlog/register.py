"""Looking at the jobs of a farm: nothing here changes any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import cast

import redis

from farm.backlog.connection import Connection, broker_errors
from farm.backlog.records import unpack_job, unpack_prior
from farm.backlog.roster import Roster
from farm.backlog.views import JobView, read_views
from farm.cost_model import CostModel
from farm.cost_prior import CostPrior
from farm.errors import InputError
from farm.job import FINAL_STATES, QUEUES, Cause, Engine, Job, JobState, make_job_id, make_task_id

_CHUNK = 1000
# Final states that are told about at a time.
_NEWS = 1000


class Register:
    """The jobs of one farm, to be read. All methods raise BrokerError when Redis does not answer.

    connection: to the farm's keys, for what is no method here
    roster:     the workers, the leading scheduler, the refits
    """

    def __init__(self, client: redis.Redis, *, name: str = "farm") -> None:
        self.connection = Connection(client, name)
        self._redis = client
        self.roster = Roster(self.connection)

    def counts(self) -> dict[JobState, int]:
        """Number of jobs in each state."""
        with broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("counts")))
        return {state: int(raw.get(state.value.encode(), 0)) for state in JobState}

    def ready_by_queue(self) -> dict[str, int]:
        """Number of ready jobs of each queue that has some."""
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for queue in QUEUES:
                pipeline.zcard(self._key("ready:" + queue))
            sizes = pipeline.execute()
        return {queue: int(n) for queue, n in zip(QUEUES, sizes, strict=True) if n}

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds spent on finished jobs, and predicted for the unfinished."""
        with broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("cpu")))
        return float(raw.get(b"spent", 0)), max(0.0, float(raw.get(b"to_go", 0)))

    def paused(self) -> bool:
        """True when nothing new is dispatched."""
        with broker_errors():
            return bool(self._redis.exists(self._key("paused")))

    def known(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """The state of each id that has a job; one with a record of an older version counts as none."""
        ids = list(job_ids)
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in ids:
                pipeline.hmget(self._key("job:" + job_id), ["state", f"back_{Cause.STALE.value}"])
            rows = pipeline.execute()
        return {
            job_id: JobState(state.decode())
            for job_id, (state, stale) in zip(ids, rows, strict=True)
            if state is not None and not stale
        }

    def job(self, job_id: str) -> JobView | None:
        """One job, or None."""
        return next(read_views(self.connection, [job_id]), None)

    def jobs(
        self, states: Iterable[JobState] | None = None, limit: int | None = None, skip: int = 0
    ) -> Iterator[JobView]:
        """Running jobs, then the backlog in its order, then the finished, the last of them first.

        states: only these
        limit:  so many at most; reading costs what is read, not what there is
        skip:   so many at the begin are passed over unread; of those handed out, whatever their state
        """
        wanted = set(states) if states is not None else set(JobState)
        last = None if limit is None else limit + skip
        views = (
            view
            for ids in _chunks(islice(self._ids_in_order(wanted, last), skip, None))
            for view in read_views(self.connection, ids)
            if view.state in wanted
        )
        return islice(views, limit)

    def ids_of_material(self, material_id: str) -> list[str]:
        """The jobs there may be of a material: under each known protocol, with each engine."""
        with broker_errors():
            keys = cast("list[bytes]", self._redis.hkeys(self._key("protocols")))
        pairs = product((key.decode() for key in keys), Engine)
        return [make_job_id(material_id, protocol, engine) for protocol, engine in pairs]

    def views(self, job_ids: Sequence[str]) -> list[JobView]:
        """The jobs with these ids; unknown ones are left out."""
        return list(read_views(self.connection, job_ids))

    def select(self, formulas: Iterable[str]) -> Iterator[JobView]:
        """All jobs with one of the formulas, in no order.

        Reads the whole backlog on the server's side, a few hundred thousand jobs a second.
        """
        names, cursor = list(formulas), "0"
        while True:
            found = self.connection.run("select", cursor, *names)
            cursor = found[0].decode()
            yield from read_views(self.connection, [job_id.decode() for job_id in found[1:]])
            if cursor == "0":
                return

    def leased(self) -> list[JobView]:
        """The dispatched and running jobs."""
        with broker_errors():
            ids = cast("list[bytes]", self._redis.zrange(self._key("leases"), 0, -1))
        return self.views([job_id.decode() for job_id in ids])

    def task_ids(self, job_ids: Sequence[str]) -> dict[str, str]:
        """The Celery id of the message each job was handed out with last; finished ones are left out."""
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for job_id in job_ids:
                pipeline.hget(self._key("job:" + job_id), "token")
            tokens = pipeline.execute()
        pairs = zip(job_ids, tokens, strict=True)
        return {job_id: make_task_id(job_id, token.decode()) for job_id, token in pairs if token}

    def finished_since(self, moment_ms: int) -> list[JobView]:
        """Jobs that reached a final state after a moment of Redis' clock, oldest first (1000 at most)."""
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for state in FINAL_STATES:
                key = self._key("in:" + state.value)
                pipeline.zrangebyscore(key, f"({moment_ms}", "+inf", start=0, num=_NEWS, withscores=True)
            found = [pair for pairs in pipeline.execute() for pair in pairs]
        first = sorted(found, key=lambda pair: (pair[1], pair[0]))[:_NEWS]
        return self.views([job_id.decode() for job_id, _ in first])

    def n_ended_since(self, moment_ms: int) -> dict[JobState, int]:
        """How many jobs reached each final state after a moment of Redis' clock."""
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for state in FINAL_STATES:
                pipeline.zcount(self._key("in:" + state.value), f"({moment_ms}", "+inf")
            return dict(zip(FINAL_STATES, map(int, pipeline.execute()), strict=True))

    def seconds_to_lease_end(self) -> dict[str, float]:
        """For each dispatched or running job how long its lease still lasts; negative: it ran out."""
        with broker_errors():
            now_s = self.now_s()
            ends = self._redis.zrange(self._key("leases"), 0, -1, withscores=True)
        pairs = cast("list[tuple[bytes, float]]", ends)
        return {job_id.decode(): end_ms / 1000 - now_s for job_id, end_ms in pairs}

    def ready_order(self, limit: int | None = None) -> list[str]:
        """Ids of the ready jobs in the order they will be dispatched, over all queues."""
        last = -1 if limit is None else limit - 1
        with broker_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for queue in QUEUES:
                pipeline.zrange(self._key("ready:" + queue), 0, last, withscores=True)
            found = [pair for pairs in pipeline.execute() for pair in pairs]
        return [job_id.decode() for job_id, _ in sorted(found, key=lambda p: (p[1], p[0]))[:limit]]

    def ready_jobs(self, limit: int) -> list[Job]:
        """The first ready jobs with their crystals; records that cannot be read are left out."""
        ids = self.ready_order(limit)
        if not ids:
            return []
        views = {view.job_id: view for view in self.views(ids)}
        with broker_errors():
            records = cast("list[bytes | None]", self._redis.hmget(self._key("records"), ids))
            protocols = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("protocols")))
        jobs = []
        for job_id, record in zip(ids, records, strict=True):
            if record is None or job_id not in views:
                continue
            view = views[job_id]
            protocol = protocols.get(job_id.split(".")[1].encode())
            # The worker that gets it says what is wrong with it.
            with suppress(InputError):
                jobs.append(unpack_job(job_id, record, protocol, view.predicted_cpu_s, view.queue))
        return jobs

    def priors(self, job_ids: Sequence[str]) -> dict[str, CostPrior]:
        """The cost priors of those of some jobs that have one and are not done."""
        if not job_ids:
            return {}
        with broker_errors():
            records = cast("list[bytes | None]", self._redis.hmget(self._key("records"), list(job_ids)))
        found = {job_id: unpack_prior(r) for job_id, r in zip(job_ids, records, strict=True) if r}
        return {job_id: prior for job_id, prior in found.items() if prior is not None}

    def cost_models(self) -> dict[str, CostModel]:
        """What measured jobs taught of the cost of the next, by kind of job."""
        with broker_errors():
            raw = cast("dict[bytes, bytes]", self._redis.hgetall(self._key("cost_models")))
        models = {}
        for key, packed in raw.items():
            # One of another version is learnt anew.
            with suppress(InputError):
                models[key.decode()] = CostModel.unpack(packed)
        return models

    def now_s(self) -> float:
        """Redis' clock in seconds."""
        return self.connection.now_s()

    def _key(self, name: str) -> str:
        return self.connection.key(name)

    def _ids_in_order(self, states: set[JobState], limit: int | None) -> Iterator[str]:
        # One that goes back or ends while this reads would be found twice.
        moving: dict[str, None] = {}
        if states & {JobState.RUNNING, JobState.DISPATCHED}:
            moving = dict.fromkeys(view.job_id for view in self.leased())
        if JobState.RUNNING in states:  # delivered, not yet stored: without a lease
            with broker_errors():
                delivered = cast("list[bytes]", self._redis.zrange(self._key("outbox_at"), 0, -1))
            moving |= dict.fromkeys(job_id.decode() for job_id in delivered)
        yield from moving
        if JobState.READY in states:
            yield from (job_id for job_id in self.ready_order(limit) if job_id not in moving)
        for state in JobState:
            if state in states & FINAL_STATES:
                yield from (job_id for job_id in self._final_ids(state) if job_id not in moving)

    def _final_ids(self, state: JobState) -> Iterator[str]:
        first = 0
        while True:
            with broker_errors():
                key = self._key("in:" + state.value)
                ids = cast("list[bytes]", self._redis.zrevrange(key, first, first + _CHUNK - 1))
            yield from (job_id.decode() for job_id in ids)
            if len(ids) < _CHUNK:
                return
            first += _CHUNK


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(ids, _CHUNK)):
        yield chunk
