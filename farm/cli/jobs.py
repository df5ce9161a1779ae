"""``farm jobs``: the list."""

from __future__ import annotations

from typing import Literal

import click

from farm.console import echo_json, open_backlog, screen, settings_of
from farm.job import JobState

_ORDER = {state: i for i, state in enumerate((JobState.RUNNING, JobState.DISPATCHED, JobState.READY))}
# "lost": leases that died under this job, of the few it may lose.
_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("atoms", "right"),
    ("state", "left"),
    ("predicted CPU s", "right"),
    ("CPU s", "right"),
    ("lost", "right"),
    ("", "left"),
)


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only jobs in this state; may be repeated.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Rows at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def jobs(ctx: click.Context, states: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List jobs: running first, then the backlog in its order, then the finished.

    \b
    farm jobs --state failed
    farm jobs --state running --state ready --limit 20
    """
    settings = settings_of(ctx)
    with open_backlog(settings) as backlog:
        wanted = [JobState(state) for state in states] or None
        place = {job_id: i for i, job_id in enumerate(backlog.ready_order())}
        views = sorted(
            backlog.jobs(wanted),
            key=lambda job: (_ORDER.get(job.state, 9), place.get(job.job_id, 0), job.changed_ms),
        )[:limit]
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
            str(job.attempts or ""),
            escape(job.stage if job.state is JobState.RUNNING else job.reason),
        )
    screen().print(table if views else "no jobs; `farm seed` queues some")
