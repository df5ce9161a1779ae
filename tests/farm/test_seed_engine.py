"""``farm seed --engine yambo``: jobs for machines that have it, with the bands it can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from farm.backlog import Backlog
from farm.job import Engine, Job
from farm.scheduler import observe

Run = Callable[..., tuple[int, str, str]]
MakeJob = Callable[..., Job]


def test_jobs_are_for_yambo_and_take_their_bands_by_nscf(run: Run, backlog: Backlog) -> None:
    code, out, err = run("seed", "--engine", "yambo", "--protocol", "demo", "--limit", "2", "--json")
    assert code == 0
    assert "bands by a dense nscf run" in err
    queued = json.loads(out)["queued"]
    assert len(queued) == 2
    jobs = [Job.from_dict(msgpack.unpackb(record)) for record in _records(backlog)]
    assert {job.engine for job in jobs} == {Engine.YAMBO}
    assert {job.protocol["bands"] for job in jobs} == {"nscf"}
    assert all(job.job_id.endswith(".yambo") for job in jobs)


def test_both_engines_may_have_the_same_crystal(run: Run) -> None:
    shared = ("--protocol", "demo", "--bands", "nscf", "--limit", "1", "--json")
    first = json.loads(run("seed", *shared)[1])
    second = json.loads(run("seed", "--engine", "yambo", *shared)[1])
    assert [job["material"] for job in first["queued"]] == [job["material"] for job in second["queued"]]
    assert json.loads(run("seed", "--engine", "yambo", *shared)[1])["queued"] == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--bands", "reduced-basis"), "takes its bands by nscf"),
        (("--protocol", "converged.toml"), "cannot converge the k-grid"),
    ],
)
def test_what_yambo_cannot_do_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("converged.toml").write_text('kgrid = "converged"\n')
    code, _, err = run("seed", "--engine", "yambo", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert told in err


def test_jobs_that_nobody_can_compute_are_in_nobodys_way(backlog: Backlog, make_job: MakeJob) -> None:
    for_yambo = [replace(make_job(f"Y{i}", cost=1.0), engine=Engine.YAMBO) for i in range(150)]
    native = [make_job(f"N{i}", cost=100.0 + i) for i in range(3)]
    backlog.enqueue([*for_yambo, *native])
    handed_out = backlog.dispatch(2, 60.0, {Engine.NATIVE})
    assert [job.job_id for job in handed_out] == [job.job_id for job in native[:2]]
    assert backlog.dispatch(2, 60.0, {Engine.NATIVE}) == []
    both = backlog.dispatch(4, 60.0, {Engine.NATIVE, Engine.YAMBO})
    assert [job.engine for job in both] == ["yambo", "yambo"]


def test_engines_are_those_of_living_workers(backlog: Backlog) -> None:
    assert observe(backlog).engines == frozenset()
    backlog.report_worker("worker@a.1", {"role": "worker", "slots": 2}, 60.0)
    assert observe(backlog).engines == {"native"}
    state = {"role": "worker", "slots": 2, "engines": ["native", "yambo"]}
    backlog.report_worker("worker@b.1", state, 60.0)
    backlog.report_worker("trainer@b.1", {"role": "trainer", "slots": 0}, 60.0)
    assert observe(backlog).engines == {"native", "yambo"}


def _records(backlog: Backlog) -> list[bytes]:
    redis = backlog._redis
    keys = [key for key in redis.keys("*") if redis.type(key) == b"hash"]
    fields = [value for key in keys for value in redis.hgetall(key).values()]
    return [value for value in fields if b"protocol_hash" in value]
