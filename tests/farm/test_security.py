"""Poison in the queues of a real farm: nothing is executed or written, the good jobs behind are done."""

from __future__ import annotations

import base64
import json
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from farm_roles import FarmRoles

from farm.job import Job, JobState
from farm.queues import APPEND, COMPUTE, STORE_QUEUE, cpu_queue
from farm.settings import Settings, load_settings

MakeJob = Callable[..., Job]
JSON, PICKLE = "application/json", "application/x-python-serialize"
PATHS = ("../../etc/x", "/etc/x", "x\0y", "..", "")


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def message(queue: str, task: str, body: bytes, content_type: str = JSON) -> bytes:
    """A message as Celery writes it to a list of Redis."""
    task_id = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "retries": 0, "eta": None}
    headers |= {"expires": None, "group": None, "parent_id": None, "timelimit": [None, None]}
    properties = {
        "correlation_id": task_id,
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": queue},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    encoded = base64.b64encode(body).decode()
    kind = {"content-encoding": "utf-8" if content_type == JSON else "binary", "content-type": content_type}
    return json.dumps({"body": encoded, "headers": headers, "properties": properties, **kind}).encode()


def call(queue: str, task: str, *arguments: object) -> bytes:
    """A message that calls a task."""
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return message(queue, task, json.dumps([arguments, {}, embed]).encode())


def poison(queue: str, task: str, trace: Path) -> dict[str, bytes]:
    """What somebody with the password may put into a queue, by name."""
    bomb = pickle.dumps(([], Bomb(trace), {}))
    whole = pickle.dumps(Bomb(trace))
    envelope = json.loads(call(queue, task, "x", "1"))
    return {
        "pickle": message(queue, task, bomb, PICKLE),
        "pickle called json": message(queue, task, whole, JSON),
        "pickle in place of a message": whole,
        "bytes": bytes(range(256)),
        "words": b"not json",
        "a list": b"[1, 2, 3]",
        "a number": b"7",
        "no headers": json.dumps({**envelope, "headers": {}}).encode(),
        "no properties": json.dumps({**envelope, "properties": {}}).encode(),
        "body of another shape": message(queue, task, b'{"not": "arguments"}'),
        "unknown task": call(queue, "os.system", f"touch {trace}"),
        "no arguments": call(queue, task),
        "numbers": call(queue, task, 1, 2),
        "lists": call(queue, task, ["x"], {"y": 1}),
        "many": call(queue, task, *"abcdefgh"),
        **{f"path {path!r}": call(queue, task, path, "1") for path in PATHS},
        **{f"path alone {path!r}": call(queue, task, path) for path in PATHS},
    }


KINDS = list(poison("", "", Path("/x")))


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[FarmRoles]:
    """One farm for all kinds of poison, under a name of its own."""
    home = tmp_path_factory.mktemp("poisoned") / "farm"
    fields = {"home": home, "redis_url": redis_url, "lease_s": 1.0, "name": "poisoned"}
    with FarmRoles(load_settings(fields, environment={})) as roles:
        yield roles


@pytest.mark.parametrize("kind", KINDS)
def test_poison_does_nothing_and_the_job_behind_it_is_done(
    roles: FarmRoles, redis_url: str, tmp_path: Path, make_job: MakeJob, kind: str
) -> None:
    settings: Settings = roles.settings
    trace = tmp_path / "executed"
    outside_before = sorted(p.name for p in settings.home.parent.iterdir())
    with redis.Redis.from_url(redis_url) as client:
        for queue, task in ((cpu_queue("native.small"), COMPUTE), (STORE_QUEUE, APPEND)):
            client.lpush(f"{settings.name}:{queue}", poison(queue, task, trace)[kind])
    good = make_job(f"good-{KINDS.index(kind)}")
    assert roles.backlog.enqueue([good]) == 1
    roles.wait_for(
        lambda: roles.backlog.counts()[JobState.METAL] == len(roles.stored()) > KINDS.index(kind)
    )
    view = roles.backlog.job(good.job_id)
    assert view is not None
    assert view.state is JobState.METAL
    assert roles.stored()[good.crystal.material_id] == 1
    assert not trace.exists()
    assert sorted(p.name for p in settings.home.parent.iterdir()) == outside_before
    assert not Path("/etc/x").exists()
