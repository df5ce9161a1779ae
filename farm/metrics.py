"""Numbers of a farm for Prometheus: from the backlog and the store, never from what passed through Celery.

A process that counts events forgets them when it restarts; these are counted where they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from farm.backlog import Backlog, JobView
from farm.free_disk import MB
from farm.job import QUEUES, JobState
from farm.overview import gather
from farm.queues import STORE_QUEUE, TRAINER_QUEUE, cpu_queue
from farm.settings import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_QUANTILES = (0.5, 0.9, 1.0)
_ROLES = ("worker", "writer", "trainer")
_REFIT_STATES = ("idle", "queued", "running")

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What one metric says; every one has the label ``farm``, the farm's name, before its own."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: tuple[MetricInfo, ...] = (
    MetricInfo(name="farm_jobs", kind="gauge", help="Jobs in each state.", labels=("state",)),
    MetricInfo(
        name="farm_jobs_ready",
        kind="gauge",
        help="Ready jobs by who may take them.",
        labels=("engine", "slot_class"),
    ),
    MetricInfo(
        name="farm_cpu_seconds_spent_total",
        kind="counter",
        help="User and system CPU seconds of finished jobs.",
    ),
    MetricInfo(
        name="farm_cpu_seconds_to_go", kind="gauge", help="Predicted CPU seconds of unfinished jobs."
    ),
    MetricInfo(
        name="farm_failures",
        kind="gauge",
        help="Materials of the store that are neither done nor metals, by what went wrong.",
        labels=("diagnosis",),
    ),
    MetricInfo(name="farm_store_materials", kind="gauge", help="Materials of the store."),
    MetricInfo(
        name="farm_store_spectra", kind="gauge", help="Materials with spectra on a rung.", labels=("rung",)
    ),
    MetricInfo(
        name="farm_store_bytes", kind="gauge", help="Size of the store; absent where it is elsewhere."
    ),
    MetricInfo(name="farm_workers", kind="gauge", help="Living processes of a role.", labels=("role",)),
    MetricInfo(
        name="farm_slots",
        kind="gauge",
        help="Slots of cpu workers: busy, free, or of a worker that takes no jobs: leaving, held.",
        labels=("state",),
    ),
    MetricInfo(
        name="farm_free_disk_bytes",
        kind="gauge",
        help="Room where a role writes (scratch, store, checkpoints); of its processes the least.",
        labels=("role",),
    ),
    MetricInfo(
        name="farm_lease_age_seconds",
        kind="gauge",
        help="Time since running jobs were last heard of; beyond the lease they are somebody else's.",
        labels=("quantile",),
    ),
    MetricInfo(
        name="farm_job_running_seconds",
        kind="gauge",
        help="How long running jobs have run.",
        labels=("quantile",),
    ),
    MetricInfo(name="farm_scheduler_up", kind="gauge", help="1 when a scheduler leads."),
    MetricInfo(name="farm_paused", kind="gauge", help="1 when nothing new is dispatched."),
    MetricInfo(
        name="farm_undelivered_results",
        kind="gauge",
        help="Results that have waited for the writer for ten seconds or more.",
    ),
    MetricInfo(
        name="farm_queue_messages",
        kind="gauge",
        help="Messages that wait in Celery's queues.",
        labels=("queue",),
    ),
    MetricInfo(
        name="farm_refit_state", kind="gauge", help="1 for what the trainer does.", labels=("state",)
    ),
    MetricInfo(name="farm_refit_failures", kind="gauge", help="Refits that failed in a row."),
    MetricInfo(
        name="farm_checkpoint_median_sc",
        kind="gauge",
        help="Held-out median similarity coefficient of the checkpoint in use.",
        labels=("version",),
    ),
    MetricInfo(
        name="farm_checkpoint_trained_on",
        kind="gauge",
        help="RPA spectra that the checkpoint in use has learnt from.",
        labels=("version",),
    ),
)

NAMES: frozenset[str] = frozenset(metric.name for metric in METRICS)


def exposition(
    backlog: Backlog,
    settings: Settings,
    failures: Mapping[str, int],
    stored: Mapping[str, int] | None = None,
) -> bytes:
    """All metrics in Prometheus' text format; ``failures`` as :func:`farm.failures.by_diagnosis` has them.

    ``stored``: what the store holds, where that was counted.

    Raises BrokerError when Redis does not answer, StoreError for a store that cannot be read.
    """
    document = gather(backlog, settings, stored)
    samples = dict(
        chain(
            _of_jobs(backlog, document),
            _of_roles(document),
            _of_running(backlog, settings),
            _of_store(settings, document, failures),
            _of_model(document),
        )
    )
    registry = CollectorRegistry()
    registry.register(_Once(_family(metric, samples[metric.name], settings.name) for metric in METRICS))
    return generate_latest(registry)


class _Once:
    """A collector of what was gathered already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _family(metric: MetricInfo, samples: list[Sample], farm: str) -> Metric:
    kind = GaugeMetricFamily if metric.kind == "gauge" else CounterMetricFamily
    family = kind(metric.name, metric.help, labels=("farm", *metric.labels))
    for labels, value in samples:
        family.add_metric((farm, *labels), value)
    return family


def _of_jobs(backlog: Backlog, document: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    jobs, (spent_s, to_go_s) = document["jobs"], backlog.cpu_s()
    ready = backlog.ready_by_queue()
    yield "farm_jobs", [((state,), n) for state, n in jobs.items()]
    yield "farm_jobs_ready", [(tuple(queue.split(".")), ready.get(queue, 0)) for queue in QUEUES]
    yield "farm_cpu_seconds_spent_total", [((), spent_s)]
    yield "farm_cpu_seconds_to_go", [((), to_go_s)]
    yield "farm_paused", [((), document["paused"])]
    yield "farm_undelivered_results", [((), document["unstored"])]
    celery = (*map(cpu_queue, QUEUES), STORE_QUEUE, TRAINER_QUEUE)
    yield "farm_queue_messages", [((queue,), backlog.n_waiting(queue)) for queue in celery]


def _of_roles(document: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    workers = document["workers"]
    yield "farm_scheduler_up", [((), bool(document["leader"]))]
    roles = [worker["role"] for worker in workers]
    yield "farm_workers", [((role,), roles.count(role)) for role in _ROLES]
    computing = [worker for worker in workers if worker["role"] == "worker"]
    slots = dict.fromkeys(("", "leaving", "held"), 0)
    for worker in computing:
        slots[_pause(worker)] += worker["slots"]
    # What still runs on a worker that takes no more is counted twice: as busy, too.
    busy = len(document["running"])
    free = max(0, slots.pop("") - busy)
    yield "farm_slots", [((state,), n) for state, n in {"busy": busy, "free": free, **slots}.items()]
    yield "farm_free_disk_bytes", [((role,), n * MB) for role, n in _least_free_disk_mb(workers).items()]


def _pause(worker: Mapping[str, Any]) -> str:
    if not worker.get("hold"):
        return ""
    return "leaving" if worker.get("leaving") else "held"


def _least_free_disk_mb(workers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    least: dict[str, int] = {}
    for worker in workers:
        if (free := worker.get("free_disk_mb")) is not None:
            least[worker["role"]] = min(free, least.get(worker["role"], free))
    return least


def _of_running(backlog: Backlog, settings: Settings) -> Iterator[tuple[str, list[Sample]]]:
    left_s, now_ms = backlog.seconds_to_lease_end(), backlog.now_s() * 1000
    running: list[JobView] = [job for job in backlog.leased() if job.state is JobState.RUNNING]
    ages_s = [settings.lease_s - left_s[job.job_id] for job in running if job.job_id in left_s]
    yield "farm_lease_age_seconds", _quantiles(ages_s)
    yield (
        "farm_job_running_seconds",
        _quantiles([(now_ms - job.started_ms) / 1000 for job in running if job.started_ms]),
    )


def _quantiles(values: list[float]) -> list[Sample]:
    # Of nothing there are none: an absent sample, not a 0.
    if not values:
        return []
    return [((f"{q:g}",), float(np.quantile(values, q))) for q in _QUANTILES]


def _of_store(
    settings: Settings, document: dict[str, Any], failures: Mapping[str, int]
) -> Iterator[tuple[str, list[Sample]]]:
    counts, path = document["store"], settings.store_path
    yield "farm_store_materials", [((), counts["materials"])]
    yield "farm_store_spectra", [(("ipa",), counts["ipa"]), (("rpa",), counts["rpa"])]
    yield "farm_store_bytes", [((), path.stat().st_size)] if path.is_file() else []
    yield "farm_failures", [((name,), n) for name, n in sorted(failures.items())]


def _of_model(document: dict[str, Any]) -> Iterator[tuple[str, list[Sample]]]:
    state, checkpoint = document["refit"], document["checkpoint"] or {}
    yield "farm_refit_state", [((each,), each == state) for each in _REFIT_STATES]
    yield "farm_refit_failures", [((), document["refit_failures"])]
    version = (checkpoint.get("version", ""),)
    for field in ("median_sc", "trained_on"):
        value = checkpoint.get(field)
        yield f"farm_checkpoint_{field}", [] if value is None else [(version, value)]
