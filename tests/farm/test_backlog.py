"""The backlog on a real Redis: order, leases, fencing, attempts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest
import redis

from farm.backlog import Backlog, Dispatch, Finish, JobView
from farm.backlog.older import take_over
from farm.errors import BrokerError, InputError, LeaseLostError
from farm.job import FINAL_STATES, Job, JobState, Outcome
from farm.queues import COMPUTE, cpu_queue, make_app

MakeJob = Callable[..., Job]
LEASE_S = 10.0


def hand_out(backlog: Backlog, job: Job) -> Dispatch:
    """Queue and dispatch one job."""
    backlog.enqueue([job])
    [dispatch] = backlog.dispatch(1, LEASE_S)
    return dispatch


def start(backlog: Backlog, job: Job, lease_s: float = LEASE_S) -> Dispatch:
    """Queue, dispatch and start one job."""
    dispatch = hand_out(backlog, job)
    backlog.start(dispatch.job_id, dispatch.token, "worker@here.1", lease_s)
    return dispatch


def finish(backlog: Backlog, job_id: str, outcome: Outcome, reason: str, cpu_s: float) -> bool:
    """The writer's word on one job."""
    [done] = backlog.finish([Finish(job_id=job_id, outcome=outcome, reason=reason, cpu_s=cpu_s)])
    return done


def state(backlog: Backlog, job_id: str) -> JobState:
    """The state of a job that exists."""
    view = backlog.job(job_id)
    assert view is not None
    return view.state


def test_jobs_leave_in_order_of_cost(backlog: Backlog, make_job: MakeJob) -> None:
    costs = [5.0, 1.0, 3.0, 0.5, 4.0, 2.0]
    assert backlog.enqueue(make_job(f"M{cost}".replace(".", "_"), cost) for cost in costs) == 6
    out = [dispatch.job_id for _ in costs for dispatch in backlog.dispatch(100, LEASE_S)]
    assert [job_id.split(".")[0] for job_id in out] == ["M0_5", "M1_0", "M2_0", "M3_0", "M4_0", "M5_0"]


def test_a_job_queued_twice_is_one_job(backlog: Backlog, make_job: MakeJob) -> None:
    assert backlog.enqueue([make_job(), make_job()]) == 1
    assert backlog.enqueue([make_job()]) == 0
    assert backlog.counts()[JobState.READY] == 1


def test_the_window_bounds_what_is_dispatched(backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue(make_job(f"M{i}", i) for i in range(10))
    assert len(backlog.dispatch(3, LEASE_S)) == 3
    assert backlog.dispatch(3, LEASE_S) == []
    assert backlog.counts()[JobState.DISPATCHED] == 3


def test_nothing_is_dispatched_while_paused(backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue([make_job()])
    backlog.set_paused(True)
    assert backlog.dispatch(1, LEASE_S) == []
    backlog.set_paused(False)
    assert len(backlog.dispatch(1, LEASE_S)) == 1


def test_a_job_runs_to_its_final_state(backlog: Backlog, make_job: MakeJob) -> None:
    job = make_job(cost=7.0)
    dispatch = hand_out(backlog, job)
    assert backlog.start(dispatch.job_id, dispatch.token, "worker@here.1", LEASE_S) == job
    assert backlog.renew(dispatch.job_id, dispatch.token, LEASE_S, "bands")
    backlog.deliver(dispatch.job_id, dispatch.token, b"payload")
    assert backlog.payloads([dispatch.job_id]).get(dispatch.job_id) == b"payload"
    assert state(backlog, dispatch.job_id) is JobState.RUNNING  # until it is on disk
    assert finish(backlog, dispatch.job_id, Outcome.DONE, "", 3.5)
    assert state(backlog, dispatch.job_id) is JobState.DONE
    assert backlog.cpu_s() == pytest.approx((3.5, 0.0))
    assert backlog.payloads([dispatch.job_id]).get(dispatch.job_id) is None
    assert not finish(backlog, dispatch.job_id, Outcome.DONE, "", 3.5)  # said twice, counted once


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_a_final_state(backlog: Backlog, make_job: MakeJob, outcome: Outcome) -> None:
    dispatch = start(backlog, make_job())
    backlog.deliver(dispatch.job_id, dispatch.token, b"x")
    finish(backlog, dispatch.job_id, outcome, "because", 1.0)
    assert state(backlog, dispatch.job_id) in FINAL_STATES
    assert state(backlog, dispatch.job_id).value == outcome.value


def test_a_dead_worker_costs_one_attempt_and_the_last_one_fails(
    backlog: Backlog, make_job: MakeJob
) -> None:
    job = make_job()
    start(backlog, job, lease_s=0.01)
    time.sleep(0.03)
    assert backlog.reap(2, LEASE_S, []) == [(job.job_id, JobState.READY)]
    [again] = backlog.dispatch(1, LEASE_S)
    backlog.start(again.job_id, again.token, "worker@there.2", 0.01)
    time.sleep(0.03)
    assert backlog.reap(2, LEASE_S, []) == [(job.job_id, JobState.FAILED)]
    view = backlog.job(job.job_id)
    assert view is not None
    assert "worker@there.2" in view.reason
    assert backlog.retry([job.job_id])
    assert state(backlog, job.job_id) is JobState.READY


def test_a_living_worker_keeps_its_job(backlog: Backlog, make_job: MakeJob) -> None:
    dispatch = start(backlog, make_job(), lease_s=0.05)
    for _ in range(4):
        time.sleep(0.03)
        assert backlog.renew(dispatch.job_id, dispatch.token, 0.05, "bands")
        assert backlog.reap(3, LEASE_S, []) == []


def test_a_zombie_cannot_commit(backlog: Backlog, make_job: MakeJob) -> None:
    old = start(backlog, make_job(), lease_s=0.01)
    time.sleep(0.03)
    backlog.reap(3, LEASE_S, [])
    with pytest.raises(LeaseLostError):
        backlog.deliver(old.job_id, old.token, b"late")
    [new] = backlog.dispatch(1, LEASE_S)
    backlog.start(new.job_id, new.token, "worker@there.2", LEASE_S)
    assert not backlog.renew(old.job_id, old.token, LEASE_S, "bands")
    with pytest.raises(LeaseLostError):
        backlog.deliver(old.job_id, old.token, b"late")
    with pytest.raises(LeaseLostError):
        backlog.start(old.job_id, old.token, "worker@here.1", LEASE_S)
    backlog.deliver(new.job_id, new.token, b"good")
    assert backlog.payloads([new.job_id]).get(new.job_id) == b"good"


def test_a_delivered_job_belongs_to_the_writer(backlog: Backlog, make_job: MakeJob) -> None:
    dispatch = start(backlog, make_job(), lease_s=0.01)
    backlog.deliver(dispatch.job_id, dispatch.token, b"x")
    time.sleep(0.03)
    assert backlog.reap(3, LEASE_S, []) == []
    assert not backlog.cancel([dispatch.job_id])
    assert backlog.undelivered() == [dispatch.job_id]
    assert backlog.undelivered(older_than_s=60.0) == []


def test_a_message_that_waits_is_not_sent_again_and_a_lost_one_is(
    backlog: Backlog, make_job: MakeJob, redis_url: str
) -> None:
    app = make_app(redis_url)
    backlog.enqueue([make_job("Kept", 1.0), make_job("Lost", 2.0)])
    kept, lost = backlog.dispatch(2, 0.01)
    app.send_task(
        COMPUTE, args=[kept.job_id, kept.token], task_id=kept.task_id, queue=cpu_queue(kept.queue)
    )
    time.sleep(0.03)
    waiting = backlog.waiting_task_ids(cpu_queue("native.small"))
    assert waiting == [kept.task_id]
    assert backlog.reap(3, LEASE_S, waiting) == [(lost.job_id, JobState.READY)]
    view = backlog.job(lost.job_id)
    assert view is not None
    assert view.attempts == 0
    assert state(backlog, kept.job_id) is JobState.DISPATCHED


def test_finished_jobs_are_told_once_in_order(backlog: Backlog, make_job: MakeJob) -> None:
    jobs = [make_job("A"), make_job("B"), make_job("C")]
    backlog.enqueue(jobs)
    before_ms = int(backlog.now_s() * 1000) - 1
    backlog.cancel([jobs[1].job_id])
    time.sleep(0.003)
    backlog.cancel([jobs[0].job_id])
    told = backlog.finished_since(before_ms)
    assert [view.material_id for view in told] == ["B", "A"]
    assert backlog.finished_since(told[-1].changed_ms) == []


def test_cancelling_takes_a_running_job_from_its_worker(backlog: Backlog, make_job: MakeJob) -> None:
    dispatch = start(backlog, make_job())
    assert backlog.cancel([dispatch.job_id])
    assert not backlog.renew(dispatch.job_id, dispatch.token, LEASE_S, "bands")
    assert state(backlog, dispatch.job_id) is JobState.CANCELLED
    assert not backlog.cancel([dispatch.job_id])


def test_a_worker_that_leaves_gives_back_its_jobs_uncounted(backlog: Backlog, make_job: MakeJob) -> None:
    dispatch = start(backlog, make_job())
    assert backlog.release_owner("worker@elsewhere.9", "stopped") == 0
    assert backlog.release_owner("worker@here.1", "stopped") == 1
    view = backlog.job(dispatch.job_id)
    assert view is not None
    assert (view.state, view.attempts) == (JobState.READY, 0)
    with pytest.raises(LeaseLostError):
        backlog.deliver(dispatch.job_id, dispatch.token, b"late")


def test_prioritised_jobs_come_first(backlog: Backlog, make_job: MakeJob) -> None:
    jobs = [make_job("Cheap", 1.0), make_job("Dear", 9.0)]
    backlog.enqueue(jobs)
    assert backlog.prioritise([jobs[1].job_id]) == [jobs[1].job_id]
    assert backlog.ready_order() == [jobs[1].job_id, jobs[0].job_id]
    assert backlog.cpu_s()[1] == pytest.approx(10.0)  # the cost is what it was


def test_counts_and_cpu_add_up_over_many_transitions(backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue(make_job(f"M{i}", float(i)) for i in range(20))
    for dispatch in backlog.dispatch(5, LEASE_S):
        backlog.start(dispatch.job_id, dispatch.token, "w", LEASE_S)
    backlog.release_owner("w", "stopped")
    backlog.cancel([backlog.ready_order()[-1]])
    counts = backlog.counts()
    assert sum(counts.values()) == 20
    assert counts[JobState.READY] == 19
    assert backlog.cpu_s()[1] == pytest.approx(sum(range(19)))
    assert {view.state for view in backlog.jobs()} == {JobState.READY, JobState.CANCELLED}


def test_workers_that_fall_silent_are_not_listed(backlog: Backlog) -> None:
    backlog.roster.report_worker("worker@a.1", {"slots": 2}, ttl_s=0.02)
    backlog.roster.report_worker("worker@b.1", {"slots": 1}, ttl_s=60)
    time.sleep(0.05)
    assert backlog.roster.workers() == [{"name": "worker@b.1", "slots": 1}]


def test_one_scheduler_leads(backlog: Backlog) -> None:
    assert backlog.roster.lead("first", 0.05)
    assert not backlog.roster.lead("second", 0.05)
    assert backlog.roster.lead("first", 0.05)
    time.sleep(0.08)
    assert backlog.roster.lead("second", 0.05)


def test_farms_share_a_server_by_name(client: redis.Redis, make_job: MakeJob) -> None:
    one, other = Backlog(client, name="one"), Backlog(client, name="other")
    one.enqueue([make_job()])
    assert other.counts()[JobState.READY] == 0
    assert other.dispatch(1, LEASE_S) == []


def test_no_redis_is_one_clear_error(make_job: MakeJob) -> None:
    nobody = Backlog(redis.Redis(port=1, retry=None))
    with pytest.raises(BrokerError, match="cannot be reached"):
        nobody.enqueue([make_job()])


def test_order_holds_over_many_jobs(backlog: Backlog, make_job: MakeJob) -> None:
    costs = [float(i * 7919 % 3000) for i in range(3000)]
    backlog.enqueue(make_job(f"M{cost:.0f}", cost) for cost in costs)
    started = []
    while batch := backlog.dispatch(8, LEASE_S):
        for dispatch in batch:
            backlog.start(dispatch.job_id, dispatch.token, "w", LEASE_S)
            started.append(float(dispatch.job_id.split(".")[0][1:]))
    assert started == sorted(costs)


def test_of_equal_costs_the_smaller_cell_comes_first(backlog: Backlog, make_job: MakeJob) -> None:
    small, large = make_job("Z", 5.0), make_job("A", 5.0)
    doubled = replace(
        large.crystal, species=large.crystal.species * 2, frac_coords=large.crystal.frac_coords * 2
    )
    backlog.enqueue([replace(large, crystal=doubled), small])
    assert backlog.ready_order() == [small.job_id, large.job_id]


def test_a_prioritised_job_that_comes_back_keeps_its_place(backlog: Backlog, make_job: MakeJob) -> None:
    jobs = [make_job("Cheap", 1.0), make_job("Dear", 9.0), make_job("First", 5.0)]
    backlog.enqueue(jobs)
    assert backlog.prioritise([jobs[1].job_id])
    assert backlog.prioritise([jobs[2].job_id])
    expected = [jobs[2].job_id, jobs[1].job_id, jobs[0].job_id]
    assert backlog.ready_order() == expected
    [dispatch] = backlog.dispatch(1, LEASE_S)
    backlog.start(dispatch.job_id, dispatch.token, "w", LEASE_S)
    assert backlog.give_back(dispatch.job_id, dispatch.token, "stopped") is JobState.READY
    assert backlog.ready_order() == expected


def test_a_record_of_another_version_is_refused_and_seeding_renews_it(
    backlog: Backlog, client: redis.Redis, make_job: MakeJob
) -> None:
    job = make_job()
    dispatch = hand_out(backlog, job)
    client.hset("farm:records", job.job_id, b"\x01whatever")
    with pytest.raises(InputError, match="not a job record of this version"):
        backlog.start(dispatch.job_id, dispatch.token, "w", LEASE_S)
    view = backlog.job(job.job_id)
    assert view is not None
    assert (view.state, view.causes) == (JobState.FAILED, {"stale": 1})
    assert backlog.known([job.job_id]) == {}  # `farm seed` takes it for new
    assert backlog.enqueue([job]) == 1
    again = backlog.dispatch(1, LEASE_S)[0]
    assert backlog.start(again.job_id, again.token, "w", LEASE_S) == job


def test_a_backlog_of_the_older_layout_is_taken_over(
    backlog: Backlog, client: redis.Redis, make_job: MakeJob
) -> None:
    def older(job: Job, state: JobState) -> None:
        record = {
            "crystal": job.crystal.to_dict(),
            "protocol": dict(job.protocol),
            "protocol_hash": job.protocol_hash,
            "engine": job.engine.value,
            "predicted_cpu_s": job.predicted_cpu_s,
        }
        fields = {"state": state.value, "record": msgpack.packb(record), "formula": "MgO", "n_atoms": 2}
        fields |= {"predicted_cpu_s": job.predicted_cpu_s, "attempts": 0, "changed_ms": 1000}
        client.hset(f"farm:job:{job.job_id}", mapping=fields)
        client.hincrby("farm:counts", state.value, 1)

    jobs = [make_job("Waits", 2.0), make_job("Runs", 1.0), make_job("Done", 3.0)]
    for job, state in zip(jobs, (JobState.READY, JobState.RUNNING, JobState.DONE), strict=True):
        older(job, state)
    client.zadd("farm:ready", {jobs[0].job_id: 2.0})
    client.zadd("farm:leases", {jobs[1].job_id: 1.0})
    client.hset("farm:cpu", "to_go", 3.0)
    assert take_over(backlog) == 3
    assert take_over(backlog) == 0
    assert backlog.ready_order() == [jobs[1].job_id, jobs[0].job_id]
    assert backlog.counts()[JobState.READY] == 2
    assert backlog.counts()[JobState.DONE] == 1
    assert [view.job_id for view in backlog.jobs([JobState.DONE])] == [jobs[2].job_id]
    assert backlog.cpu_s()[1] == pytest.approx(3.0)
    [first, _] = backlog.dispatch(2, LEASE_S)
    assert backlog.start(first.job_id, first.token, "w", LEASE_S) == jobs[1]


def test_a_job_that_moves_while_the_list_is_read_is_there_once(
    backlog: Backlog, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog.enqueue([make_job("A"), make_job("B")])
    (sent,) = backlog.dispatch(1, 60)
    backlog.start(sent.job_id, sent.token, "worker@a.1", 60)
    leased = backlog.leased

    def leased_and_then_gone() -> list[JobView]:
        found = leased()
        backlog.give_back(sent.job_id, sent.token, "its worker was stopped")
        return found

    monkeypatch.setattr(backlog, "leased", leased_and_then_gone)
    assert sorted(job.material_id for job in backlog.jobs()) == ["A", "B"]
