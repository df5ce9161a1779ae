"""``farm pause|resume|prioritise|cancel|retry``: steer the backlog by id, formula or state."""

from __future__ import annotations

from collections.abc import Callable

import click

from farm.backlog import Backlog, JobView
from farm.console import echo_json, open_backlog, settings_of
from farm.errors import InputError
from farm.job import JobState


def select(backlog: Backlog, names: tuple[str, ...], states: tuple[str, ...]) -> list[JobView]:
    """Jobs whose id, material or formula is named, or whose state is; both given: both must hold.

    Raises InputError for a name that matches nothing.
    """
    if not names and not states:
        raise InputError("nothing was named", fix="Give materials, formulas, or --state")
    wanted = [JobState(state) for state in states] or None
    views = list(backlog.jobs(wanted))
    if not names:
        return views
    chosen = [job for job in views if {job.job_id, job.material_id, job.formula} & set(names)]
    found = {name for job in chosen for name in (job.job_id, job.material_id, job.formula)}
    if missing := [name for name in names if name not in found]:
        raise InputError(f"no such job: {', '.join(missing)}", fix="`farm jobs` lists them")
    return chosen


def _act(
    ctx: click.Context,
    names: tuple[str, ...],
    states: tuple[str, ...],
    as_json: bool,
    verb: str,
    action: Callable[[Backlog, str], bool],
) -> None:
    settings = settings_of(ctx)
    with open_backlog(settings) as backlog:
        changed = [job for job in select(backlog, names, states) if action(backlog, job.job_id)]
    if as_json:
        echo_json({verb: [job.material_id for job in changed]})
    else:
        click.echo(f"{verb} {len(changed)}: " + (", ".join(job.material_id for job in changed) or "none"))


_names = click.argument("names", nargs=-1, metavar="[MATERIAL|FORMULA]...")
_states = click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="All jobs in this state.",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.command()
@_names
@_states
@_json
@click.pass_context
def retry(ctx: click.Context, names: tuple[str, ...], states: tuple[str, ...], as_json: bool) -> None:
    """Queue failed, cancelled or unconverged jobs again.

    \b
    farm retry --state failed
    farm retry MgO
    """
    _act(ctx, names, states, as_json, "queued again", Backlog.retry)


@click.command()
@_names
@_states
@_json
@click.pass_context
def cancel(ctx: click.Context, names: tuple[str, ...], states: tuple[str, ...], as_json: bool) -> None:
    """Cancel jobs; running ones are killed with all their processes.

    \b
    farm cancel KCl
    farm cancel --state ready
    """
    _act(ctx, names, states, as_json, "cancelled", Backlog.cancel)


@click.command()
@_names
@_states
@_json
@click.pass_context
def prioritise(ctx: click.Context, names: tuple[str, ...], states: tuple[str, ...], as_json: bool) -> None:
    """Put ready jobs before all others.

    \b
    farm prioritise BN-hexagonal
    """
    _act(ctx, names, states, as_json, "first now", Backlog.prioritise)


@click.command()
@click.pass_context
def pause(ctx: click.Context) -> None:
    """Dispatch nothing new; what runs goes on.

    \b
    farm pause
    """
    with open_backlog(settings_of(ctx)) as backlog:
        backlog.set_paused(True)
    click.echo("paused; `farm resume` goes on")


@click.command()
@click.pass_context
def resume(ctx: click.Context) -> None:
    """Dispatch again after `farm pause`.

    \b
    farm resume
    """
    with open_backlog(settings_of(ctx)) as backlog:
        backlog.set_paused(False)
    click.echo("resumed")
