"""``farm seed --engine yambo``: jobs for machines that have it, with the bands it can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from farm.backlog import Backlog
from farm.job import Engine, Job

Run = Callable[..., tuple[int, str, str]]


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


def _records(backlog: Backlog) -> list[bytes]:
    redis = backlog._redis
    keys = [key for key in redis.keys("*") if redis.type(key) == b"hash"]
    fields = [value for key in keys for value in redis.hgetall(key).values()]
    return [value for value in fields if b"protocol_hash" in value]
