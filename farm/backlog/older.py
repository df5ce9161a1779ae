"""Takes over a backlog that was left by a version whose jobs kept their records themselves."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import msgpack

from farm.backlog.connection import broker_errors
from farm.backlog.jobs import Backlog
from farm.crystal import Crystal
from farm.job import FINAL_STATES, Engine, Job, JobState, queue_name
from farm.slot_class import SlotClass

# Keys only that layout has.
_MARK, _FINISHED = "ready", "finished"


def take_over(backlog: Backlog) -> int:
    """Bring all jobs into the present layout; how many there were (0 where nothing is to be done).

    Unfinished ones are ready again, their attempts uncounted. Safe to repeat when killed in the middle.
    """
    redis, key = backlog.connection.redis, backlog.connection.key
    with broker_errors():
        if not redis.exists(key(_MARK)) and not redis.exists(key(_FINISHED)):
            return 0
        n_jobs, states = 0, Counter[str]()
        for name in redis.scan_iter(match=key("job:*"), count=1000):
            fields = cast("dict[bytes, bytes]", redis.hgetall(name))
            if b"record" in fields:
                _convert(backlog, name.decode(), fields)
                n_jobs += 1
            states[cast("bytes", redis.hget(name, "state")).decode()] += 1
        pipeline = redis.pipeline()
        pipeline.delete(key("counts"), key(_MARK), key(_FINISHED))
        if states:
            pipeline.hset(key("counts"), mapping=cast("Any", dict(states)))
        pipeline.execute()
    return n_jobs


def _convert(backlog: Backlog, name: str, fields: dict[bytes, bytes]) -> None:
    redis, key = backlog.connection.redis, backlog.connection.key
    job_id = name[len(key("job:")) :]
    data = msgpack.unpackb(fields[b"record"])
    state = JobState(fields[b"state"].decode())
    redis.zrem(key("leases"), job_id)
    if state in FINAL_STATES:
        redis.hdel(name, "record", "attempts")
        redis.hset(name, "queue", queue_name(data["engine"], SlotClass.SMALL))
        redis.zadd(key("in:" + state.value), {job_id: float(fields[b"changed_ms"])})
        return
    job = Job(
        crystal=Crystal.from_dict(data["crystal"]),
        protocol=data["protocol"],
        protocol_hash=str(data["protocol_hash"]),
        engine=Engine(data["engine"]),
        predicted_cpu_s=float(data["predicted_cpu_s"]),
    )
    redis.delete(name)
    redis.hincrbyfloat(key("cpu"), "to_go", -job.predicted_cpu_s)  # counted again below
    backlog.enqueue([job])
