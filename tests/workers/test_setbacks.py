"""What becomes of a job that a worker cannot end: counted by cause, bounded, told; and of the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import workers.tasks
from farm.backlog import Backlog, Dispatch, JobView
from farm.errors import BrokerError, InputError, MemoryShortError, MissingProgramError, ResourceError
from farm.hold import Hold
from farm.job import Job, JobState, Outcome
from farm.result import Result
from workers.readiness import Readiness, why_not
from workers.tasks import Slot, run_job

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slot:
    monkeypatch.setattr(workers.tasks, "_CLOSING_S", 0.0)
    monkeypatch.setattr(workers.tasks, "_DELIVER_EVERY_S", 0.01)
    return Slot(owner="worker@here.1", scratch=tmp_path, pseudo_dir=tmp_path, lease_s=10.0, max_returns=2)


def compute_by(monkeypatch: pytest.MonkeyPatch, action: Callable[[Job], Result]) -> None:
    def compute(job: Job, **_: Any) -> Result:
        return action(job)

    monkeypatch.setattr(workers.tasks, "compute", compute)


def hand_out(backlog: Backlog, queues: dict[str, int] | None = None) -> Dispatch:
    [dispatch] = backlog.dispatch(1, 10.0, queues)
    return dispatch


def run_once(backlog: Backlog, slot: Slot, queues: dict[str, int] | None = None) -> JobView:
    dispatch = hand_out(backlog, queues)
    run_job(dispatch.job_id, dispatch.token, backlog, slot)
    view = backlog.job(dispatch.job_id)
    assert view is not None
    return view


def raising(error: Exception) -> Callable[[Job], Result]:
    def action(job: Job) -> Result:  # noqa: ARG001 - what compute gets
        raise error

    return action


def test_an_error_of_our_own_code_stops_after_its_bound(
    backlog: Backlog, slot: Slot, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_by(monkeypatch, raising(ZeroDivisionError("by zero")))
    backlog.enqueue([make_job()])
    states = [run_once(backlog, slot).state for _ in range(3)]
    assert states == [JobState.READY, JobState.READY, JobState.FAILED]
    [view] = backlog.jobs()
    assert view.causes == {"fault": 3}
    assert "ZeroDivisionError: by zero" in view.reason


@pytest.mark.parametrize(
    "error", [ResourceError("the disk is full"), MissingProgramError("pw.x is not installed")]
)
def test_what_the_machine_cannot_do_pauses_the_worker_and_counts_apart(
    backlog: Backlog, slot: Slot, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    compute_by(monkeypatch, raising(error))
    backlog.enqueue([make_job()])
    view = run_once(backlog, slot)
    assert (view.state, view.causes) == (JobState.READY, {"returned": 1})
    assert str(error) in view.reason
    assert backlog.roster.held(slot.owner) == Hold(str(error))
    backlog.roster.report_worker(slot.owner, {"role": "worker", "slots": 1}, 60.0)
    assert backlog.roster.workers()[0]["hold"] == str(error)
    assert run_once(backlog, slot).state is JobState.FAILED  # max_returns is 2 here


def test_a_job_out_of_memory_goes_to_a_larger_slot_where_there_is_one(
    backlog: Backlog, slot: Slot, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_by(monkeypatch, raising(MemoryShortError("900 MB wanted")))
    backlog.enqueue([make_job()])
    assert run_once(backlog, slot).queue == "native.small"  # nobody has larger ones
    large = {"role": "worker", "slots": 1, "queues": ["native.small", "native.large"]}
    backlog.roster.report_worker("worker@there.1", large, 60.0)
    dispatch = hand_out(backlog, {"native.small": 1})
    run_job(dispatch.job_id, dispatch.token, backlog, replace(slot, max_returns=5))
    view = backlog.job(dispatch.job_id)
    assert view is not None
    assert (view.state, view.queue) == (JobState.READY, "native.large")
    assert backlog.dispatch(1, 10.0, {"native.small": 1}) == []
    assert hand_out(backlog, {"native.large": 1}).queue == "native.large"


def test_killed_programs_are_tried_elsewhere_and_then_the_failure_is_the_result(
    backlog: Backlog,
    slot: Slot,
    make_job: MakeJob,
    make_result: MakeResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(job: Job) -> Result:
        result = make_result(job, Outcome.FAILED, "scf: killed by signal 9")
        return replace(result, diagnosis="killed")

    compute_by(monkeypatch, killed)
    backlog.enqueue([make_job()])
    assert [run_once(backlog, slot).causes for _ in range(2)] == [{"killed": 1}, {"killed": 2}]
    view = run_once(backlog, slot)
    assert (view.state, view.stage, view.causes) == (JobState.RUNNING, "storing", {"killed": 3})
    payload = backlog.payloads([view.job_id]).get(view.job_id)
    assert payload is not None
    assert Result.unpack(payload).diagnosis == "killed"


def test_a_result_waits_for_a_redis_that_is_full(
    backlog: Backlog,
    slot: Slot,
    make_job: MakeJob,
    make_result: MakeResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compute_by(monkeypatch, make_result)
    refusals = iter([BrokerError("Redis is full"), BrokerError("Redis is full")])
    deliver = backlog.deliver

    def full(*arguments: Any) -> bool:
        if error := next(refusals, None):
            raise error
        return deliver(*arguments)

    monkeypatch.setattr(backlog, "deliver", full)
    backlog.enqueue([make_job()])
    assert run_once(backlog, slot).stage == "storing"


def test_a_machine_that_is_not_ready_gives_the_message_back_unstarted(
    backlog: Backlog, slot: Slot, make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute_by(monkeypatch, raising(AssertionError("it was started")))
    readiness = Readiness(backlog, slot.owner, tmp_path, 1e12, programs=())
    backlog.enqueue([make_job()])
    view = run_once(backlog, replace(slot, readiness=readiness))
    assert (view.state, view.causes, view.started_ms) == (JobState.READY, {}, None)
    assert "scratch is full" in view.reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({}, ""),
        ({"free_disk_mb": 999.0}, "scratch is full: 999 MB free, 1000 needed"),
        ({"free_disk_mb": 1200.0, "was_closed": True}, "scratch is full: 1200 MB free, 1500 needed"),
        ({"free_disk_mb": 1600.0, "was_closed": True}, ""),
        ({"free_disk_mb": None}, "the scratch directory cannot be read"),
        ({"missing": ["pw.x", "pp.x"]}, "pw.x, pp.x not found"),
    ],
)
def test_why_a_worker_takes_no_jobs(state: dict[str, Any], reason: str) -> None:
    well = {"free_disk_mb": 5000.0, "least_free_disk_mb": 1000.0, "missing": (), "was_closed": False}
    assert why_not(**{**well, **state}) == reason


def test_a_hold_ends_by_itself(backlog: Backlog, tmp_path: Path) -> None:
    readiness = Readiness(backlog, "worker@here.1", tmp_path, 0.0, programs=())
    backlog.roster.hold("worker@here.1", Hold("the disk was full"), 0.05)
    assert readiness.why_not() == Hold("the disk was full")
    threading.Event().wait(0.1)
    assert readiness.why_not() is None


@pytest.mark.parametrize(
    "job_id", ["../../etc/passwd", "/abs.0123456789ab.native", "A\0.0123456789ab.native", 7]
)
def test_ids_that_are_none_are_not_looked_for(backlog: Backlog, slot: Slot, job_id: Any) -> None:
    with pytest.raises(InputError, match="not a job id"):
        backlog.start(job_id, "1", slot.owner, slot.lease_s)
    assert run_job(job_id, "1", backlog, slot) is False
