"""``farm seed --engine yambo``: jobs for machines that have it, with the bands it can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farm.backlog import Backlog
from farm.hold import Hold
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
    jobs = backlog.ready_jobs(10)
    assert len(jobs) == 2
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
    handed_out = backlog.dispatch(2, 60.0, {"native.small": 2})
    assert [job.job_id for job in handed_out] == [job.job_id for job in native[:2]]
    assert backlog.dispatch(2, 60.0, {"native.small": 2}) == []
    both = backlog.dispatch(4, 60.0, {"native.small": 4, "yambo.small": 4})
    assert [job.queue for job in both] == ["yambo.small", "yambo.small"]


def test_slots_are_those_of_living_workers_that_take_jobs(backlog: Backlog) -> None:
    report = backlog.roster.report_worker
    assert observe(backlog).slots_by_queue == {}
    report("worker@a.1", {"role": "worker", "slots": 2, "queues": ["native.small"]}, 60.0)
    both = {"role": "worker", "slots": 2, "queues": ["native.small", "yambo.small"]}
    report("worker@b.1", both, 60.0)
    report("trainer@b.1", {"role": "trainer", "slots": 0}, 60.0)
    assert observe(backlog).slots_by_queue == {"native.small": 4, "yambo.small": 2}
    assert observe(backlog).slots == 4
    report("worker@b.1", both, 60.0, Hold("the disk is full"))
    backlog.roster.hold("worker@a.1", Hold("pw.x not found"), 60.0)
    assert observe(backlog).slots_by_queue == {}
    assert observe(backlog).slots == 0
