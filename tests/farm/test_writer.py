"""From the outbox to the disk: once, whatever is repeated or broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from farm.backlog import Backlog
from farm.cost import cost_prior
from farm.job import Job, JobState, Outcome, Stage
from farm.protocol import PRESETS
from farm.result import Result, StageUsage
from farm.settings import Settings
from farm.store import StoreCounts, StoreWriter, open_store
from farm.writer import remember_costs, report_counts, store_waiting

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]


@pytest.fixture
def writer(settings: Settings) -> Iterator[StoreWriter]:
    with StoreWriter(settings.store_path) as writer:
        yield writer


def deliver(backlog: Backlog, job: Job, payload: bytes) -> None:
    """Take a job through a worker's hands."""
    backlog.enqueue([job])
    [dispatch] = backlog.dispatch(1, 60)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    backlog.deliver(dispatch.job_id, dispatch.token, payload)


def outcome_of(backlog: Backlog, job: Job) -> tuple[JobState, str]:
    view = backlog.job(job.job_id)
    assert view is not None
    return view.state, view.reason


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.METAL, Outcome.UNCONVERGED, Outcome.FAILED])
def test_each_outcome_is_stored_and_finished(
    backlog: Backlog, writer: StoreWriter, make_job: MakeJob, make_result: MakeResult, outcome: Outcome
) -> None:
    job = make_job()
    deliver(backlog, job, make_result(job, outcome, "so it was").pack())
    assert store_waiting(backlog, writer)
    assert outcome_of(backlog, job) == (JobState(outcome.value), "so it was")
    assert not store_waiting(backlog, writer)  # said twice
    writer.close()
    with open_store(writer.path) as store:
        [row] = store.rows()
    assert row.outcome is outcome


def test_a_writer_that_died_before_finishing_repeats_without_a_second_row(
    backlog: Backlog, writer: StoreWriter, make_job: MakeJob, make_result: MakeResult
) -> None:
    job = make_job()
    result = make_result(job)
    writer.append(result)  # on disk, but the job was never finished
    deliver(backlog, job, result.pack())
    assert store_waiting(backlog, writer)
    assert writer.n_rows == 1
    assert outcome_of(backlog, job)[0] is JobState.DONE


def test_garbage_ends_as_failed_with_its_reason(
    backlog: Backlog, writer: StoreWriter, make_job: MakeJob
) -> None:
    job = make_job()
    deliver(backlog, job, b"\x80garbage")
    assert store_waiting(backlog, writer)
    state, reason = outcome_of(backlog, job)
    assert state is JobState.FAILED
    assert "not a result record" in reason


def test_another_energy_grid_ends_as_failed_with_its_reason(
    backlog: Backlog, writer: StoreWriter, make_job: MakeJob, make_result: MakeResult
) -> None:
    first, other = make_job("first"), make_job("other")
    writer.append(make_result(first))
    result = make_result(other)
    ladder = tuple(replace(step, eps=step.eps[:, :1001]) for step in result.ladder)
    coarse = replace(result, ladder=ladder, protocol={**result.protocol, "n_energies": 1001})
    deliver(backlog, other, coarse.pack())
    assert store_waiting(backlog, writer)
    state, reason = outcome_of(backlog, other)
    assert state is JobState.FAILED
    assert "one energy grid" in reason


def test_counts_reach_the_scheduler(
    backlog: Backlog, writer: StoreWriter, make_job: MakeJob, make_result: MakeResult
) -> None:
    writer.append(make_result(make_job("one")))
    writer.append(make_result(make_job("two"), Outcome.METAL, "gap"))
    report_counts(backlog, writer)
    assert backlog.roster.stored_counts() == {"materials": 2, "ipa": 1, "rpa": 1}
    writer.close()
    with open_store(writer.path) as store:
        assert store.counts() == StoreCounts(2, 1, 1) == writer.counts()


def test_measured_costs_are_learnt_and_survive_a_wiped_redis(
    backlog: Backlog, client: redis.Redis, writer: StoreWriter, make_job: MakeJob, make_result: MakeResult
) -> None:
    job = make_job()
    job = replace(job, prior=cost_prior(job.crystal, PRESETS["demo"]))
    stages = tuple(StageUsage(stage=s, cpu_s=2.0, wall_s=2.0, peak_memory_mb=80.0) for s in Stage)
    deliver(backlog, job, replace(make_result(job), stages=stages).pack())
    assert store_waiting(backlog, writer) == 1
    writer.close()
    [(key, model)] = backlog.cost_models().items()
    assert model.n_observed == 1
    client.flushdb()
    assert backlog.cost_models() == {}
    remember_costs(backlog, writer.path)
    assert {k: m.n_observed for k, m in backlog.cost_models().items()} == {key: 1}
