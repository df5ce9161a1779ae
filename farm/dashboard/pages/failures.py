"""Page: what went wrong, how often, what is to be done, and which remedies helped."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from farm.backlog import Backlog, JobView
from farm.dashboard.query import Query
from farm.dashboard.rendering import render
from farm.dashboard.snapshot import Snapshot
from farm.errors import BrokerError
from farm.job import JobState, make_job_id

router = APIRouter()

_EXAMPLES = 12
_LOST_SHOWN = 50
# Of the jobs that failed lately, so many are compared with the store.
_LOST_LOOKED_AT = 500


@router.get("/failures")
def failures(request: Request) -> HTMLResponse:
    """By diagnosis, the most frequent first."""
    farm = request.app.state.farm
    snapshot: Snapshot | None = farm.catalogue.snapshot
    try:
        lost, problem = without_result(farm.backlog, snapshot), None
    except BrokerError as error:
        lost, problem = [], error
    return render(
        request,
        "failures.html",
        store_error=farm.catalogue.error,
        problem=problem,
        groups=[_group(snapshot, ended) for ended in snapshot.not_done] if snapshot else [],
        remedies=snapshot.remedies if snapshot else [],
        n_metals=int((snapshot.frame["outcome"] == "metal").sum()) if snapshot else 0,
        lost=lost[:_LOST_SHOWN],
    )


def without_result(backlog: Backlog, snapshot: Snapshot | None) -> list[JobView]:
    """Jobs that failed and left nothing in the store: lost by their workers too often, for example."""
    failed = list(backlog.jobs([JobState.FAILED], limit=_LOST_LOOKED_AT))
    if snapshot is None or not failed:
        return failed
    names = {job.material_id for job in failed}
    held = snapshot.frame[snapshot.frame["material_id"].isin(names)]
    columns = (held[name].astype(str) for name in ("material_id", "protocol_hash", "engine"))
    ids = {make_job_id(*key) for key in zip(*columns, strict=True)}
    return [job for job in failed if job.job_id not in ids]


def _group(snapshot: Snapshot, ended: dict[str, Any]) -> dict[str, Any]:
    """One diagnosis with its first materials and the way to all of them."""
    query = Query(outcome=ended["outcome"], diagnosis=ended["diagnosis"])
    rows = snapshot.frame.iloc[snapshot.table.select(query)[:_EXAMPLES]]
    examples = list(zip(rows["material_id"].tolist(), rows["formula"].tolist(), strict=True))
    return {**ended, "address": query.address("/materials"), "examples": examples}
