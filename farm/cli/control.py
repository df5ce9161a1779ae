"""``farm pause|resume|prioritise|cancel|retry``: steer the backlog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from farm.backlog import Backlog
from farm.cli.choosing import choice_options, choose, chosen
from farm.console import echo_json, open_backlog, settings_of

# Ids shown on a terminal; `--json` gives all.
_SHOWN = 20

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


def _act(
    ctx: click.Context,
    options: dict[str, Any],
    as_json: bool,
    verb: str,
    action: Callable[[Backlog, list[str]], list[str]],
) -> None:
    with open_backlog(settings_of(ctx)) as backlog:
        jobs = {job.job_id: job for job in choose(backlog, chosen(**options))}
        changed = [jobs[job_id] for job_id in action(backlog, list(jobs))]
    if as_json:
        materials = [job.material_id for job in changed]
        echo_json({verb: materials, "jobs": [job.job_id for job in changed]})
        return
    shown = ", ".join(job.material_id for job in changed[:_SHOWN]) or "none"
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    click.echo(f"{verb} {len(changed)}: {shown}{more}")


@click.command()
@choice_options
@_json
@click.pass_context
def retry(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Queue failed, cancelled or unconverged jobs again.

    \b
    farm retry --state failed
    farm retry MgO
    """
    _act(ctx, options, as_json, "queued again", Backlog.retry)


@click.command()
@choice_options
@_json
@click.pass_context
def cancel(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Cancel jobs; running ones are killed with all their processes.

    \b
    farm cancel KCl
    farm cancel --state ready --max-atoms 4
    """
    _act(ctx, options, as_json, "cancelled", Backlog.cancel)


@click.command()
@choice_options
@_json
@click.pass_context
def prioritise(ctx: click.Context, /, as_json: bool, **options: Any) -> None:
    """Put ready jobs before all others, cheapest first among them.

    \b
    farm prioritise BN-hexagonal
    farm prioritise --elements Si,O --max-cpu-s 600
    """
    _act(ctx, options, as_json, "first now", Backlog.prioritise)


@click.command()
@_json
@click.pass_context
def pause(ctx: click.Context, as_json: bool) -> None:
    """Dispatch nothing new; what runs goes on.

    \b
    farm pause
    """
    _set_paused(ctx, True, as_json, "paused; `farm resume` goes on")


@click.command()
@_json
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """Dispatch again after `farm pause`.

    \b
    farm resume
    """
    _set_paused(ctx, False, as_json, "resumed")


def _set_paused(ctx: click.Context, paused: bool, as_json: bool, words: str) -> None:
    with open_backlog(settings_of(ctx)) as backlog:
        backlog.set_paused(paused)
    if as_json:
        echo_json({"paused": paused})
    else:
        click.echo(words)
