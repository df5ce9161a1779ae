"""What programs ask: the state of the farm in JSON, what waits for workers, and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from farm.advice import with_advice
from farm.job import Engine, JobState, queue_name
from farm.metrics import CONTENT_TYPE, exposition
from farm.slot_class import SlotClass

router = APIRouter()


@router.api_route("/health", methods=["GET", "HEAD"])
async def health() -> dict[str, bool]:
    """That this process answers; of the farm it says nothing. No thread is waited for."""
    return {"ok": True}


@router.get("/api/status")
def status(request: Request) -> dict[str, Any]:
    """The document of ``farm status --json``."""
    return with_advice(request.app.state.farm.document())


@router.get("/api/backlog")
def backlog(request: Request) -> dict[str, Any]:
    """Jobs by engine and slot class, and how many wait: what decides how many workers there should be.

    ``ready`` counts those nobody has taken, ``running`` those at work; ``waiting`` those that are ready or
    handed out and not yet started, of each queue and over all.
    """
    jobs = request.app.state.farm.backlog
    ready, counts = jobs.ready_by_queue(), jobs.counts()
    leased = jobs.leased()
    running = [job.queue for job in leased if job.state is JobState.RUNNING]
    handed_out = [job.queue for job in leased if job.state is JobState.DISPATCHED]
    by_engine = {
        engine.value: {
            slot_class.value: {
                "ready": ready.get(queue := queue_name(engine, slot_class), 0),
                "waiting": ready.get(queue, 0) + handed_out.count(queue),
                "running": running.count(queue),
            }
            for slot_class in SlotClass
        }
        for engine in Engine
    }
    return {**by_engine, "waiting": counts[JobState.READY] + counts[JobState.DISPATCHED]}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """What ``farm metrics`` prints, for Prometheus."""
    farm = request.app.state.farm
    snapshot = farm.catalogue.snapshot
    failures, counts = (snapshot.by_diagnosis, snapshot.counts) if snapshot else ({}, None)
    text = exposition(farm.backlog, farm.settings, failures, counts)
    return Response(text, media_type=CONTENT_TYPE)
