"""A worker with an end: what it does not begin, and what becomes of what it cannot end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workers.tasks
from farm.backlog import Backlog, Dispatch
from farm.errors import InputError
from farm.job import Job, JobState
from farm.queues import COMPUTE, cpu_queue, make_app
from farm.result import Result
from workers.batch_system import end_of_job_s
from workers.horizon import Horizon
from workers.tasks import Slot, run_job
from workers.walltime import SPARE_S, Walltime

MakeJob = Callable[..., Job]
QUEUES = ["native.small", "native.medium"]
OWNER = "worker@here.1"


def horizon_of(backlog: Backlog, left_s: float) -> Horizon:
    """Of a worker that has so many seconds left for jobs."""
    now_s = time.time()
    walltime = Walltime(begin_s=now_s - 3600, end_s=now_s + left_s + 5 + SPARE_S, grace_s=5)
    return Horizon(backlog, OWNER, QUEUES, 1, walltime, None)


@pytest.fixture
def slot(backlog: Backlog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(workers.tasks, "_CLOSING_S", 0.0)
    horizon = horizon_of(backlog, 720.0)
    return Slot(owner=OWNER, scratch=tmp_path, pseudo_dir=tmp_path, lease_s=10.0, horizon=horizon)


def dispatched(backlog: Backlog) -> Dispatch:
    [dispatch] = backlog.dispatch(1, 10.0)
    return dispatch


def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calculation is stopped as the pool stops it."""

    def compute(job: Job, **_: Any) -> Result:  # noqa: ARG001 - what compute gets
        raise SystemExit(-253)

    monkeypatch.setattr(workers.tasks, "compute", compute)


def test_what_would_not_end_in_time_is_not_begun_and_not_counted(
    backlog: Backlog, slot: Slot, make_job: MakeJob
) -> None:
    backlog.enqueue([make_job(cost=1200.0)])
    dispatch = dispatched(backlog)
    assert run_job(dispatch.job_id, dispatch.token, backlog, slot) is False
    [view] = backlog.jobs()
    assert (view.state, view.causes, view.started_ms) == (JobState.READY, {}, None)
    assert "leaves in 12 min; the next job needs 40 min" in view.reason
    # It pauses, so that it is not the one to get it again.
    held = backlog.roster.held(OWNER)
    assert held is not None
    assert held.is_leaving
    assert "the next job needs 40 min" in held.reason


@pytest.mark.parametrize("job_id", ["../../etc/passwd", 7])
def test_an_id_that_is_none_is_refused(backlog: Backlog, slot: Slot, job_id: Any) -> None:
    assert run_job(job_id, "1", backlog, slot) is False
    assert slot.horizon is not None
    with pytest.raises(InputError):
        slot.horizon.why_not(job_id)


def test_what_a_worker_stops_goes_back_uncounted(
    backlog: Backlog, slot: Slot, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.enqueue([make_job(cost=100.0)])
    dispatch = dispatched(backlog)
    stopped(monkeypatch)
    with pytest.raises(SystemExit):
        run_job(dispatch.job_id, dispatch.token, backlog, slot)
    [view] = backlog.jobs()
    assert (view.state, view.causes, view.owner) == (JobState.READY, {}, "")
    assert f"{OWNER} was stopped" in view.reason


@pytest.mark.parametrize(
    ("left_s", "ran_s", "is_cut_off"), [(-1.0, 206.0, True), (-1.0, 100.0, False), (60.0, 206.0, False)]
)
def test_counted_is_what_the_walltime_cuts_off_after_longer_than_predicted(
    backlog: Backlog, make_job: MakeJob, left_s: float, ran_s: float, is_cut_off: bool
) -> None:
    job = make_job(cost=100.0)
    backlog.enqueue([job])
    assert horizon_of(backlog, left_s).cut_off(job.job_id, ran_s) is is_cut_off
    assert Horizon(backlog, OWNER, QUEUES, 1, None, None).cut_off(job.job_id, ran_s) is False


def test_it_is_open_while_the_next_job_fits(backlog: Backlog, make_job: MakeJob) -> None:
    assert horizon_of(backlog, 720.0).why_not_next() == ""
    backlog.enqueue([make_job("Small", 60.0), make_job("Large", 3600.0)])
    assert horizon_of(backlog, 720.0).why_not_next() == ""
    backlog.cancel([view.job_id for view in backlog.jobs() if view.material_id == "Small"])
    assert horizon_of(backlog, 720.0).why_not_next() == "leaves in 12 min; the next job needs 2.0 h"
    assert horizon_of(backlog, 4 * 3600.0).why_not_next() == ""


def test_the_message_that_comes_next_counts_as_well(
    backlog: Backlog, make_job: MakeJob, redis_url: str
) -> None:
    backlog.enqueue([make_job("Large", 3600.0)])
    dispatch = dispatched(backlog)
    app = make_app(redis_url)
    arguments = [dispatch.job_id, dispatch.token]
    app.send_task(
        COMPUTE,
        args=arguments,
        queue=cpu_queue(dispatch.queue),
        task_id=dispatch.task_id,
        ignore_result=True,
    )
    assert "the next job needs 2.0 h" in horizon_of(backlog, 720.0).why_not_next()
    # What is no message of ours is for others to refuse.
    backlog.connection.redis.rpush("farm:cpu.native.medium", b"garbage", b'{"headers": {"id": "../x:1"}}')
    assert "the next job needs 2.0 h" in horizon_of(backlog, 720.0).why_not_next()
    backlog.enqueue([make_job("Small", 60.0)])
    assert horizon_of(backlog, 720.0).why_not_next() == ""


def test_of_running_jobs_those_are_given_up_that_will_not_end_within_the_grace(
    backlog: Backlog, make_job: MakeJob
) -> None:
    backlog.enqueue([make_job("Short", 20.0), make_job("Long", 600.0), make_job("Another", 600.0)])
    for owner in (OWNER, OWNER, "worker@there.2"):
        dispatch = dispatched(backlog)
        backlog.start(dispatch.job_id, dispatch.token, owner, 10.0)
    doomed = horizon_of(backlog, 720.0).stay(90.0).doomed(90.0)
    long = {view.job_id for view in backlog.jobs() if view.owner == OWNER and view.predicted_cpu_s > 90}
    assert set(doomed) == long
    assert len(long) == 1


@pytest.mark.parametrize(
    ("environment", "left_s"),
    [
        ({"SLURM_JOB_ID": "7"}, 26 * 3600),
        ({"SLURM_JOB_ID": "8"}, None),  # UNLIMITED
        ({"SLURM_JOB_ID": "9"}, None),  # squeue fails
        # The number of the element is that of the array, of which there are two.
        ({"SLURM_JOB_ID": "20", "SLURM_ARRAY_JOB_ID": "20", "SLURM_ARRAY_TASK_ID": "2"}, 59),
        ({}, None),
    ],
)
def test_slurm_is_asked_where_its_variables_do_not_say(
    tmp_path: Path, environment: dict[str, str], left_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        '"--noheader --job=7 --format=%L") echo 1-02:00:00 ;;\n'
        '"--noheader --job=8 --format=%L") echo UNLIMITED ;;\n'
        '"--noheader --job=20 --format=%L") echo 0:30; echo 0:59 ;;\n'
        '"--noheader --job=20_2 --format=%L") echo 0:59 ;;\n'
        "*) exit 1 ;;\nesac\n"
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    end_s = end_of_job_s(environment | {"PATH": f"{tmp_path}:/usr/bin:/bin"}, 1000.0)
    assert end_s == (None if left_s is None else 1000.0 + left_s)


def test_where_slurm_is_not_there_nothing_is_known_of_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert end_of_job_s({"SLURM_JOB_ID": "7"}, 1000.0) is None
