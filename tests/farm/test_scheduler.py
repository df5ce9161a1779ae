"""The scheduler: pure decisions, and ticks on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from farm.backlog import Backlog
from farm.job import Job, JobState
from farm.queues import REFIT, STORE_QUEUE, TRAINER_QUEUE, cpu_queue, make_app
from farm.scheduler import Scheduler, is_idle, observe
from farm.settings import Settings
from farm.situation import Situation, decide, rank_due, refit_due
from farm.slot_class import SlotClass

MakeJob = Callable[..., Job]
CALM = Situation(
    slots=4, trainers=1, n_unfinished=5, n_rpa=0, n_rpa_fitted=0, refit_busy=False, refit_failures=0
)


def test_the_window_is_one_message_a_slot(settings: Settings) -> None:
    assert decide(CALM, settings).window == 4
    assert decide(replace(CALM, slots=0), settings).window == 1  # a job waits for the first worker


@pytest.mark.parametrize(
    ("n_rpa", "n_fitted", "n_unfinished", "due"),
    [
        (7, 0, 5, False),  # below the minimum of 8
        (8, 0, 5, True),
        (15, 8, 5, False),  # not doubled
        (16, 8, 5, True),
        (9, 8, 0, True),  # nothing more will come
        (8, 8, 0, False),  # nothing new
        (7, 0, 0, False),
    ],
)
def test_refits_follow_growth(
    settings: Settings, n_rpa: int, n_fitted: int, n_unfinished: int, due: bool
) -> None:
    situation = replace(CALM, n_rpa=n_rpa, n_rpa_fitted=n_fitted, n_unfinished=n_unfinished)
    assert refit_due(situation, settings) is due


def test_one_refit_at_a_time_and_not_for_ever(settings: Settings) -> None:
    due = replace(CALM, n_rpa=20)
    assert refit_due(due, settings)
    assert not refit_due(replace(due, refit_busy=True), settings)
    assert not refit_due(replace(due, refit_failures=3), settings)
    assert decide(due, settings).refit
    assert not decide(replace(due, trainers=0), settings).refit  # it waits for a trainer


def test_a_tick_sends_the_cheapest_to_celery(
    backlog: Backlog, settings: Settings, make_job: MakeJob, redis_url: str
) -> None:
    app = make_app(redis_url)
    backlog.roster.report_worker("worker@here.1", {"role": "worker", "slots": 2}, ttl_s=60)
    backlog.enqueue(make_job(f"M{cost}", cost) for cost in (3, 1, 2))
    Scheduler(backlog, app, settings).tick()
    Scheduler(backlog, app, settings).tick()  # the window is full: nothing more is sent
    waiting = backlog.waiting_task_ids(cpu_queue("native.small"))
    assert [task_id.split(".")[0] for task_id in reversed(waiting)] == ["M1", "M2"]


def test_a_lost_message_is_found(
    backlog: Backlog, settings: Settings, make_job: MakeJob, redis_url: str
) -> None:
    app = make_app(redis_url)
    backlog.enqueue([make_job()])
    [lost] = backlog.dispatch(1, 0.01)  # dispatched, but its message never arrived anywhere
    time.sleep(0.03)
    Scheduler(backlog, app, settings).tick()
    [waiting] = backlog.waiting_task_ids(cpu_queue("native.small"))
    assert waiting.startswith(lost.job_id)
    assert waiting != lost.task_id  # a new token


def test_a_result_nobody_stored_is_announced_again(
    backlog: Backlog,
    settings: Settings,
    make_job: MakeJob,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(redis_url)
    backlog.enqueue([make_job()])
    [dispatch] = backlog.dispatch(1, 60)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    backlog.deliver(dispatch.job_id, dispatch.token, b"x")
    Scheduler(backlog, app, settings).tick()
    assert backlog.waiting_task_ids(STORE_QUEUE) == []  # the worker's own message may be on its way
    monkeypatch.setattr("farm.scheduler._REPOKE_AFTER_S", 0.0)
    time.sleep(0.01)
    Scheduler(backlog, app, settings).tick()
    assert len(backlog.waiting_task_ids(STORE_QUEUE)) == 1
    Scheduler(backlog, app, settings).tick()
    assert len(backlog.waiting_task_ids(STORE_QUEUE)) == 1  # once is enough


def test_a_refit_is_asked_for_once_and_again_when_its_trainer_dies(
    backlog: Backlog, settings: Settings, redis_url: str
) -> None:
    app = make_app(redis_url)
    backlog.roster.set_stored_counts(materials=9, ipa=9, rpa=9)
    Scheduler(backlog, app, settings).tick()
    assert backlog.waiting_task_ids(TRAINER_QUEUE) == []  # nobody there to do it
    assert not is_idle(backlog, settings)
    assert is_idle(backlog, settings, with_trainer=False)
    backlog.roster.report_worker("trainer@here.2", {"role": "trainer", "slots": 0}, ttl_s=60)
    Scheduler(backlog, app, settings).tick()
    Scheduler(backlog, app, settings).tick()
    assert len(backlog.waiting_task_ids(TRAINER_QUEUE)) == 1
    assert not is_idle(backlog, settings)
    backlog.roster.set_refit_state(until_s=0)  # its lease ran out
    assert observe(backlog).refit_failures == 1
    Scheduler(backlog, app, settings).tick()
    assert len(backlog.waiting_task_ids(TRAINER_QUEUE)) == 2
    backlog.roster.set_refit_state(state="idle", n_rpa=9, failures=0)
    assert is_idle(backlog, settings)
    assert REFIT == "trainer.fitting.refit"


def test_idle_means_no_job_in_any_open_state(
    backlog: Backlog, settings: Settings, make_job: MakeJob
) -> None:
    assert is_idle(backlog, settings)
    backlog.enqueue([make_job()])
    assert not is_idle(backlog, settings)
    [dispatch] = backlog.dispatch(1, 60)
    assert not is_idle(backlog, settings)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    assert not is_idle(backlog, settings)
    backlog.cancel([dispatch.job_id])
    assert is_idle(backlog, settings)
    assert backlog.counts()[JobState.CANCELLED] == 1


def test_jobs_that_nobody_here_can_take_keep_no_farm_waiting(
    backlog: Backlog, settings: Settings, make_job: MakeJob
) -> None:
    backlog.enqueue([replace(make_job("Big"), slot_class=SlotClass.LARGE)])
    assert not is_idle(backlog, settings)  # a worker may yet come
    backlog.roster.report_worker("w", {"role": "worker", "slots": 1, "queues": ["native.small"]}, 60.0)
    assert is_idle(backlog, settings)
    backlog.roster.report_worker("v", {"role": "worker", "slots": 1, "queues": ["native.large"]}, 60.0)
    assert not is_idle(backlog, settings)


def test_messages_go_ahead_of_short_jobs_and_of_no_others(settings: Settings) -> None:
    one_slot = replace(CALM, slots=1, slots_by_queue={"native.small": 1, "yambo.small": 1})
    hours = decide(replace(one_slot, starts_per_s=0.1), settings)
    assert (hours.window, hours.queues) == (1, {"native.small": 1, "yambo.small": 1})
    milliseconds = decide(replace(one_slot, starts_per_s=200.0), settings)
    assert milliseconds.window == milliseconds.queues["native.small"] > 1


@pytest.mark.parametrize(
    ("policy", "n_queued", "ranked", "due"),
    [
        ("cheapest", 1000, 0, False),
        ("diverse", 1000, 0, True),
        ("diverse", 105, 100, False),
        ("uncertainty-per-cost", 111, 100, True),
    ],
)
def test_a_policy_is_asked_again_when_many_jobs_came(
    settings: Settings, policy: str, n_queued: int, ranked: int, due: bool
) -> None:
    situation = replace(CALM, n_queued=n_queued, n_queued_ranked=ranked)
    assert rank_due(situation, settings.model_copy(update={"policy": policy})) is due
