"""``farm jobs``: the list."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import click

from farm.backlog import JobView, Register
from farm.cli.choosing import Choice, choice_options, choose, chosen
from farm.console import echo_json, open_backlog, screen, settings_of
from farm.job import JobState

# "came back": how often, by what brought it back.
_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("atoms", "right"),
    ("state", "left"),
    ("predicted CPU s", "right"),
    ("CPU s", "right"),
    ("came back", "left"),
    ("", "left"),
)


@click.command()
@choice_options
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Rows at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def jobs(ctx: click.Context, /, limit: int, as_json: bool, **options: Any) -> None:
    """List jobs: running first, then the backlog in its order, then the finished.

    \b
    farm jobs --state failed
    farm jobs --state running --state ready --limit 20
    farm jobs MgO --json
    """
    choice = chosen(**options)
    with open_backlog(settings_of(ctx)) as backlog:
        found = choose(backlog, choice) if choice.names else _listed(backlog, choice, limit)
        views = list(islice(found, limit))
    if as_json:
        echo_json([view.to_dict() for view in views])
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("material", "formula", box=None)
    for name, side in _COLUMNS:
        table.add_column(name, justify=side)
    for job in views:
        table.add_row(
            job.material_id,
            job.formula,
            str(job.n_atoms),
            job.state.value,
            f"{job.predicted_cpu_s:.1f}",
            "" if job.cpu_s is None else f"{job.cpu_s:.1f}",
            ", ".join(f"{cause} {n}" for cause, n in job.causes.items()),
            escape(job.stage if job.state is JobState.RUNNING else job.reason),
        )
    screen().print(table if views else "no jobs; `farm seed` queues some")


def _listed(register: Register, choice: Choice, limit: int) -> Iterator[JobView]:
    # Without further conditions no more is read than is shown, however long the backlog is.
    most = None if choice.has_conditions else limit
    return (job for job in register.jobs(choice.states or None, most) if choice.holds(job))
