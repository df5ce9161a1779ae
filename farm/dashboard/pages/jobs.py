"""Page: the jobs in their order, and what an operator does with them."""

from __future__ import annotations

import logging
import re
from itertools import islice
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from farm.backlog import JobView
from farm.dashboard.actions import ACTIONS, chosen, look_up, perform
from farm.dashboard.answers import is_for_programs
from farm.dashboard.farm_view import Farm
from farm.dashboard.guard import client_of
from farm.dashboard.rendering import render
from farm.job import FINAL_STATES, JobState

LOGGER = logging.getLogger(__name__)

router = APIRouter()

PAGE_ROWS = 50
# Further back nobody turns the pages; reading them costs what lies before.
_LAST_PAGE = 200
_SECTION_ROWS = 25
_LATELY_MS = 3600 * 1000
_LISTED_BEFORE_ACTING = 20
_FORMULA = re.compile(r"([A-Z][a-z]?\d*)+")


@router.get("/jobs")
def jobs(request: Request) -> HTMLResponse:
    """Running, waiting and lately finished jobs; or all of one state, or those of one material."""
    farm, asked = request.app.state.farm, request.query_params
    state = _state(asked.get("state", ""))
    name = asked.get("name", "").strip()[:128]
    page = min(_LAST_PAGE, max(1, int(text))) if (text := asked.get("page", "")[:9]).isdecimal() else 1
    if name:
        sections, more = [("Jobs of " + name, "named", _named(farm, name))], False
    elif state is not None:
        views = _page(farm, state, page)
        more = len(views) > PAGE_ROWS and page < _LAST_PAGE
        sections = [(_TITLES[state], state.value, views[:PAGE_ROWS])]
    else:
        sections, more = _all_sections(farm), False
    document = farm.document()
    return render(
        request,
        "jobs.html",
        sections=sections,
        state=state,
        name=name,
        page=page,
        more=more,
        counts=document["jobs"],
        paused=document["paused"],
        now_s=farm.backlog.now_s(),
        told=_told(asked.get("did", ""), asked.get("n", "")),
        actions=_possible(state, sections),
        choosable=frozenset[JobState]().union(*(action.states for action in ACTIONS.values())),
    )


@router.post("/jobs/pause")
def pause(request: Request) -> Response:
    """Dispatch nothing new."""
    return _set_paused(request, True)


@router.post("/jobs/resume")
def resume(request: Request) -> Response:
    """Dispatch again."""
    return _set_paused(request, False)


@router.post("/jobs/confirm")
def confirm(request: Request) -> HTMLResponse:
    """Ask before something is done to jobs."""
    form = request.state.form
    name = form.get("action", "")
    action = _action(name)
    choice = chosen(action, form.getlist("job"), form.get("state", ""))
    farm = request.app.state.farm
    listed = look_up(farm.backlog, action, choice, _LISTED_BEFORE_ACTING)
    if choice.state is None:
        total = len(look_up(farm.backlog, action, choice, len(choice.job_ids)))
    else:
        total = farm.backlog.counts()[choice.state]
    return render(
        request, "confirm.html", name=name, action=action, choice=choice, listed=listed, total=total
    )


@router.post("/jobs/{name}")
def act(request: Request, name: str) -> Response:
    """Do one of ACTIONS to the jobs that a form names."""
    action, form, farm = _action(name), request.state.form, request.app.state.farm
    choice = chosen(action, form.getlist("job"), form.get("state", ""))
    changed = perform(farm.backlog, action, choice)
    farm.forget_moment()
    LOGGER.info("%s: %d jobs %s", client_of(request), len(changed), action.done)
    if is_for_programs(request):
        return JSONResponse({"jobs": changed})
    return RedirectResponse(f"/jobs?did={name}&n={len(changed)}", status_code=303)


_TITLES = {
    JobState.READY: "Waiting, in their order",
    JobState.DISPATCHED: "Handed out",
    JobState.RUNNING: "Running",
    **{state: state.value.capitalize() for state in FINAL_STATES},
}


def _set_paused(request: Request, paused: bool) -> Response:
    farm = request.app.state.farm
    farm.backlog.set_paused(paused)
    farm.forget_moment()
    LOGGER.info("%s: %s", client_of(request), "paused" if paused else "resumed")
    if is_for_programs(request):
        return JSONResponse({"paused": paused})
    return RedirectResponse(f"/jobs?did={'pause' if paused else 'resume'}", status_code=303)


def _action(name: str) -> Any:
    if name not in ACTIONS:
        raise HTTPException(404)
    return ACTIONS[name]


def _state(text: str) -> JobState | None:
    return JobState(text) if text in set(JobState) else None


def _named(farm: Farm, name: str) -> list[JobView]:
    """The jobs of a material or, where there is none, of a formula."""
    found = farm.backlog.views(farm.backlog.ids_of_material(name))
    if found or not _FORMULA.fullmatch(name):
        return found
    # Goes through the whole backlog.
    return list(islice(farm.backlog.select([name]), PAGE_ROWS))


def _page(farm: Farm, state: JobState, page: int) -> list[JobView]:
    """One page, and the job behind it where there is one."""
    first, most = (page - 1) * PAGE_ROWS, PAGE_ROWS + 1
    if state in (JobState.RUNNING, JobState.DISPATCHED):
        # They lie among one another, and are few.
        return list(farm.backlog.jobs([state], limit=first + most))[first:]
    return list(farm.backlog.jobs([state], limit=most, skip=first))


def _all_sections(farm: Farm) -> list[tuple[str, str, list[JobView]]]:
    backlog, moment = farm.backlog, farm.moment()
    since_ms = int(moment.now_s * 1000) - _LATELY_MS
    # In one hour there may be any number: the last of each state are enough.
    ended = [job for state in FINAL_STATES for job in backlog.jobs([state], limit=_SECTION_ROWS)]
    lately = [job for job in ended if job.changed_ms > since_ms]
    lately.sort(key=lambda job: job.changed_ms, reverse=True)
    waiting = list(backlog.jobs([JobState.READY], limit=_SECTION_ROWS))
    return [
        ("Running", "running", moment.running[:_SECTION_ROWS]),
        ("Waiting, in their order", "ready", waiting),
        ("Finished in the last hour", "", lately[:_SECTION_ROWS]),
    ]


def _possible(state: JobState | None, sections: list[Any]) -> list[tuple[str, str]]:
    """What may be done to some of the jobs that are shown: names and buttons."""
    there = {job.state for _, _, views in sections for job in views} | ({state} if state else set())
    return [(name, action.button) for name, action in ACTIONS.items() if action.states & there]


def _told(did: str, n: str) -> str:
    """What was done before this page, from its address: only words of our own."""
    if did in ("pause", "resume"):
        return "Paused: nothing new is dispatched." if did == "pause" else "Resumed."
    if did in ACTIONS and n.isdecimal() and len(n) < 10:
        return f"{int(n):,} {'job was' if int(n) == 1 else 'jobs were'} {ACTIONS[did].done}."
    return ""
