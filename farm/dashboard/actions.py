"""What an operator may do from the dashboard: the same as `farm pause|resume|retry|cancel|prioritise`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from farm.backlog import RETRIED, Backlog, JobView
from farm.errors import InputError
from farm.job import JobState, split_job_id

# Named one by one in a form; more are chosen by their state.
MOST_NAMED = 500


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something to do with jobs.

    title:  as a question that is asked before
    button: what is written on it
    done:   what is said after, behind a number
    note:   what it means
    states: of which jobs it may be; others are left as they are
    act:    the ids of those that were changed
    """

    title: str
    button: str
    done: str
    note: str
    states: frozenset[JobState]
    act: Callable[[Backlog, Sequence[str]], list[str]]


ACTIONS: Mapping[str, Action] = {
    "retry": Action(
        title="Queue again",
        button="Queue again",
        done="queued again",
        note="They are computed again as if they were new.",
        states=frozenset(RETRIED),
        act=Backlog.retry,
    ),
    "cancel": Action(
        title="Cancel",
        button="Cancel them",
        done="cancelled",
        note="Running ones are killed with all their processes; what they computed so far is lost.",
        states=frozenset({JobState.READY, JobState.DISPATCHED, JobState.RUNNING}),
        act=Backlog.cancel,
    ),
    "prioritise": Action(
        title="Put first",
        button="Put first",
        done="put first",
        note="They go before all other jobs, cheapest first among them.",
        states=frozenset({JobState.READY}),
        act=Backlog.prioritise,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Jobs that somebody named, or all of one state."""

    job_ids: tuple[str, ...] = ()
    state: JobState | None = None


def chosen(action: Action, job_ids: Sequence[str], state: str) -> Chosen:
    """What a form chose. Raises InputError for what is no choice, or not one for this action."""
    if state:
        if state not in {each.value for each in action.states}:
            raise InputError(f"{action.button.lower()}: not possible for jobs in state {state[:20]!r}")
        return Chosen(state=JobState(state))
    if not job_ids:
        raise InputError("no job was chosen", fix="Mark some in the list")
    if len(job_ids) > MOST_NAMED:
        raise InputError(f"more than {MOST_NAMED} jobs were chosen", fix="Use the command line")
    for job_id in job_ids:
        split_job_id(job_id)
    return Chosen(job_ids=tuple(dict.fromkeys(job_ids)))


def look_up(backlog: Backlog, action: Action, choice: Chosen, limit: int) -> list[JobView]:
    """The first jobs of a choice that the action may be of."""
    if choice.state is not None:
        return list(backlog.jobs([choice.state], limit=limit))
    views = backlog.views(choice.job_ids)
    return list(islice((view for view in views if view.state in action.states), limit))


def perform(backlog: Backlog, action: Action, choice: Chosen) -> list[str]:
    """Do it; the ids of the jobs that were changed. Others are in other states meanwhile."""
    if choice.state is None:
        jobs = look_up(backlog, action, choice, MOST_NAMED)
    else:
        jobs = list(backlog.jobs([choice.state]))
    ordered = sorted(jobs, key=lambda job: (job.predicted_cpu_s, job.n_atoms, job.job_id))
    return action.act(backlog, [job.job_id for job in ordered])
