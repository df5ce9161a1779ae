"""The metrics: what the backlog and the store say, in a form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from farm.backlog import Backlog
from farm.failures import UNNAMED, count_failures
from farm.hold import Hold
from farm.job import Job, JobState, Outcome
from farm.metrics import METRICS, NAMES, exposition
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter

SLOT_STATES = ("busy", "free", "leaving", "held")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    """Name and labels (without the farm's) -> value."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "farm"}
            assert sample.labels["farm"] == "farm"
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def told(backlog: Backlog, settings: Settings) -> Samples:
    return samples(exposition(backlog, settings, count_failures(settings.store_path)))


def test_an_empty_farm_has_every_metric_that_needs_nothing(backlog: Backlog, settings: Settings) -> None:
    found = told(backlog, settings)
    assert {name for name, _ in found} == NAMES - {
        "farm_store_bytes",
        "farm_failures",
        "farm_free_disk_bytes",
        "farm_lease_age_seconds",
        "farm_job_running_seconds",
        "farm_checkpoint_median_sc",
        "farm_checkpoint_trained_on",
    }
    assert found["farm_scheduler_up", ()] == 0
    assert found["farm_jobs", (("state", "ready"),)] == 0


def test_jobs_leases_and_slots(backlog: Backlog, settings: Settings, make_job: Callable[..., Job]) -> None:
    backlog.enqueue([make_job("A", 2.0), make_job("B", 3.0), make_job("C", 4.0)])
    sent = backlog.dispatch(1, settings.lease_s)
    backlog.start(sent[0].job_id, sent[0].token, "worker@a.1", settings.lease_s)
    backlog.roster.report_worker("worker@a.1", {"role": "worker", "slots": 3}, 60)
    backlog.roster.report_worker(
        "worker@b.1", {"role": "worker", "slots": 4, "free_disk_mb": 3}, 60, Hold("full")
    )
    leaves = Hold("had no job for 5 min", is_leaving=True)
    backlog.roster.report_worker(
        "worker@c.1", {"role": "worker", "slots": 2, "free_disk_mb": 2}, 60, leaves
    )
    backlog.roster.report_worker("writer@a.2", {"role": "writer", "slots": 0, "free_disk_mb": 9000}, 60)
    backlog.roster.lead("here", 60)
    found = told(backlog, settings)
    assert found["farm_jobs", (("state", "running"),)] == 1
    assert found["farm_jobs_ready", (("engine", "native"), ("slot_class", "small"))] == 2
    assert found["farm_cpu_seconds_to_go", ()] == pytest.approx(9.0)
    assert found["farm_workers", (("role", "worker"),)] == 3
    slots = {state: found["farm_slots", (("state", state),)] for state in SLOT_STATES}
    assert slots == {"busy": 1, "free": 2, "leaving": 2, "held": 4}
    assert found["farm_free_disk_bytes", (("role", "worker"),)] == 2 * 2**20
    assert found["farm_free_disk_bytes", (("role", "writer"),)] == 9000 * 2**20
    assert 0 <= found["farm_lease_age_seconds", (("quantile", "1"),)] < settings.lease_s
    assert 0 <= found["farm_job_running_seconds", (("quantile", "0.5"),)] < 60
    assert found["farm_scheduler_up", ()] == 1


def test_failures_are_counted_by_diagnosis(
    backlog: Backlog,
    settings: Settings,
    make_job: Callable[..., Job],
    make_result: Callable[..., Result],
) -> None:
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("A")))
        for name, diagnosis in (("B", "out_of_memory"), ("C", "out_of_memory"), ("D", "")):
            result = make_result(make_job(name), Outcome.FAILED, f"{name} went wrong")
            writer.append(replace(result, diagnosis=diagnosis))
    assert list(count_failures(settings.store_path).items()) == [("out_of_memory", 2), (UNNAMED, 1)]
    counted = told(backlog, settings)
    assert counted["farm_failures", (("diagnosis", "out_of_memory"),)] == 2
    assert counted["farm_failures", (("diagnosis", UNNAMED),)] == 1
    assert counted["farm_store_bytes", ()] == settings.store_path.stat().st_size
    assert counted["farm_store_spectra", (("rung", "rpa"),)] == 1


def test_what_ended_is_counted(backlog: Backlog, settings: Settings, make_job: Callable[..., Job]) -> None:
    job = make_job("A")
    backlog.enqueue([job])
    backlog.cancel([job.job_id])
    found = told(backlog, settings)
    assert found["farm_jobs", (("state", "cancelled"),)] == 1
    assert backlog.n_ended_since(0)[JobState.CANCELLED] == 1


def test_names_are_prometheus_like() -> None:
    for metric in METRICS:
        assert metric.name.startswith("farm_")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.help.endswith(".")


def test_farm_metrics_prints_them(run: Callable[..., tuple[int, str, str]], backlog: Backlog) -> None:
    backlog.roster.report_worker("worker@a.1", {"role": "worker", "slots": 3}, 60)
    code, out, err = run("metrics")
    assert (code, err) == (0, "")
    assert samples(out.encode())["farm_slots", (("state", "free"),)] == 3
