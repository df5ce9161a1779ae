"""What waits for somebody to do something, and what to type; pure, from the document of `farm status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from farm.job import Engine

_LOW_DISK_MB = 1000
_OPEN = ("ready", "dispatched", "running")


class Urgency(StrEnum):
    """How long it may wait."""

    NOW = "now"  # nothing goes on without it
    SOON = "soon"  # a part of the farm stands still
    NEWS = "news"  # nothing stands still


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One finding.

    text:    what is so
    command: what to type next
    """

    urgency: Urgency
    text: str
    command: str


def advise(document: Mapping[str, Any]) -> list[Advice]:
    """What somebody should do, most urgent first, from :func:`farm.overview.gather`."""
    found = [*_roles(document), *_workers(document), *_model(document), *_ended(document["jobs"])]
    return sorted(found, key=lambda advice: list(Urgency).index(advice.urgency))


def with_advice(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of ``farm status --json`` and ``/api/status``: with a list ``advice``."""
    return {**document, "advice": [vars(advice) for advice in advise(document)]}


def _roles(document: Mapping[str, Any]) -> Iterator[Advice]:
    n_open = sum(document["jobs"].get(state, 0) for state in _OPEN)
    roles = {worker["role"] for worker in document["workers"]}
    if document["paused"]:
        yield _now("paused: nothing new is dispatched", "farm resume")
    if n_open and not roles and not document["leader"]:
        yield _now(f"{_jobs(n_open, 'waits', 'wait')}, and no role is running", "farm up")
        return
    if n_open and not document["leader"]:
        yield _now("no scheduler leads: no job is dispatched", "farm scheduler")
    if n_open and "worker" not in roles:
        yield _now(f"{_jobs(n_open, 'waits', 'wait')} and no cpu worker is running", "farm worker")
    if n := document["unstored"]:
        why = "its log says why" if "writer" in roles else "none is running"
        yield _soon(
            f"{'1 result waits' if n == 1 else f'{n} results wait'} for the writer: {why}", "farm writer"
        )


def _workers(document: Mapping[str, Any]) -> Iterator[Advice]:
    for queue, n in document["unserved"].items():
        engine, slot_class = queue.split(".")
        waiting = _jobs(n, "waits", "wait")
        if Engine(engine) is Engine.YAMBO:
            yield _soon(f"{waiting} for a worker with yambo; what is missing is told by", "farm doctor")
        else:
            text = f"{waiting} for a {slot_class} slot; one slot of a machine's whole memory"
            yield _soon(text, "farm worker --slots 1")
    for worker in document["workers"]:
        # One that leaves in good order has nothing to be mended.
        if worker.get("hold") and not worker.get("leaving"):
            yield _soon(f"no jobs are taken by {worker['name']}: {worker['hold']}", "farm doctor")
        free_mb = worker.get("free_disk_mb")
        # A cpu worker watches its scratch itself, and pauses.
        if worker["role"] != "worker" and free_mb is not None and free_mb < _LOW_DISK_MB:
            yield _soon(f"{free_mb} MB are left for {worker['writes_to']}", "farm doctor")


def _model(document: Mapping[str, Any]) -> Iterator[Advice]:
    if damage := document["checkpoint_damage"]:
        yield _soon(damage, "farm checkpoints list")
    if n := document["refit_failures"]:
        times = "once" if n == 1 else f"{n} times in a row"
        yield _soon(f"the refit failed {times}: {document['refit_message']}", "farm train transfer")


def _ended(n_jobs: Mapping[str, int]) -> Iterator[Advice]:
    if n := n_jobs.get("failed", 0):
        yield _soon(f"{_jobs(n, 'has failed', 'have failed')}; why, and what was tried", "farm report")
        yield _soon("to compute them again once the cause is gone", "farm retry --state failed")
    if n := n_jobs.get("unconverged", 0):
        text = f"{_jobs(n, 'ended', 'ended')} unconverged; which, and where their ladders stopped"
        yield _news(text, "farm jobs --state unconverged")
    if n := n_jobs.get("cancelled", 0):
        yield _news(f"{_jobs(n, 'was', 'were')} cancelled", "farm retry --state cancelled")


def _jobs(n: int, one: str, many: str) -> str:
    """``1 job waits``, ``3 jobs wait``."""
    return f"1 job {one}" if n == 1 else f"{n:,} jobs {many}"


def _now(text: str, command: str) -> Advice:
    return Advice(urgency=Urgency.NOW, text=text, command=command)


def _soon(text: str, command: str) -> Advice:
    return Advice(urgency=Urgency.SOON, text=text, command=command)


def _news(text: str, command: str) -> Advice:
    return Advice(urgency=Urgency.NEWS, text=text, command=command)
