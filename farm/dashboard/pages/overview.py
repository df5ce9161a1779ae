"""Page: where the farm stands, what runs, what is next, and what somebody should do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from farm.advice import advise
from farm.dashboard.checkpoint_cards import Version, read_checkpoints
from farm.dashboard.farm_view import Farm, Moment
from farm.dashboard.rendering import render
from farm.dashboard.sparkline import sparkline
from farm.errors import BrokerError
from farm.job import FINAL_STATES, JobState
from farm.overview import model_line, seconds_left, slots_of, why_no_slot

router = APIRouter()

_RUNNING_SHOWN = 12
_VERSIONS_SHOWN = 30
# Of the bar's 100: what is there can be seen.
_LEAST_WIDTH = 0.6
# In the order in which they lie in the bar.
_BAR = (
    *(JobState.DONE, JobState.METAL, JobState.UNCONVERGED, JobState.FAILED, JobState.CANCELLED),
    *(JobState.RUNNING, JobState.DISPATCHED, JobState.READY),
)


class Part(NamedTuple):
    """A state in the bar; place and width of 100."""

    state: str
    n: int
    x: float
    width: float


@router.get("/")
def overview(request: Request) -> HTMLResponse:
    """The page."""
    return render(request, "overview.html", **_context(request.app.state.farm))


@router.get("/fragment/overview")
def fragment(request: Request) -> HTMLResponse:
    """What of the page changes."""
    return render(request, "_overview.html", **_context(request.app.state.farm))


def _context(farm: Farm) -> dict[str, Any]:
    catalogue = farm.catalogue
    common = {"store_error": catalogue.error}
    try:
        moment = farm.moment()
    except BrokerError as error:
        snapshot = catalogue.snapshot
        return {**common, "problem": error, "counts": snapshot.counts if snapshot else None}
    learning = learning_of(read_checkpoints(farm.settings.checkpoints_dir).versions)
    return {
        **common,
        "problem": None,
        "learning": learning,
        **standing(moment, farm.settings.refit_min_spectra),
    }


def learning_of(versions: Sequence[Version]) -> Markup | None:
    """Held-out median SC of the last versions as a small line; None where fewer than two were measured."""
    measured = [version.median_sc for version in versions if version.median_sc is not None]
    shown = measured[-_VERSIONS_SHOWN:]
    if not shown:
        return None
    words = f"Held-out median SC of the last {len(shown)} versions, from {shown[0]:.3f} to {shown[-1]:.3f}"
    return sparkline(shown, words)


def standing(moment: Moment, refit_min_spectra: int) -> dict[str, Any]:
    """What the template shows of a moment; pure."""
    document, jobs = moment.document, moment.document["jobs"]
    n_finished = sum(jobs[state] for state in FINAL_STATES)
    checkpoint = document["checkpoint"]
    return {
        "document": document,
        "total": sum(jobs.values()),
        "finished": n_finished,
        "open": sum(jobs.values()) - n_finished,
        "bar": bar(jobs),
        "left_s": seconds_left(document),
        "slots": slots_of(document),
        "why_no_slot": why_no_slot(document),
        "advice": advise(document),
        "n_running": len(moment.running),
        "running": [
            {
                **vars(job),
                "material_id": job.material_id,
                "for_s": max(0.0, moment.now_s - (job.started_ms or job.changed_ms) / 1000),
            }
            for job in moment.running[:_RUNNING_SHOWN]
        ],
        "following": moment.following,
        "model_line": model_line(checkpoint).partition(", ")[2] if checkpoint else "",
        "refit_min_spectra": refit_min_spectra,
        "counts": document["store"] if any(document["store"].values()) else None,
    }


def bar(n_jobs: dict[str, int]) -> list[Part]:
    """The states there are, side by side: as wide as they are many, none too small to be seen."""
    found = [(state.value, n_jobs[state]) for state in _BAR if n_jobs.get(state)]
    total = sum(n for _, n in found)
    widths = [max(_LEAST_WIDTH, 100 * n / total) for _, n in found]
    scale, parts, x = 100 / sum(widths) if widths else 1.0, list[Part](), 0.0
    for (state, n), width in zip(found, widths, strict=True):
        parts.append(Part(state, n, round(x, 3), round(width * scale, 3)))
        x += width * scale
    return parts
