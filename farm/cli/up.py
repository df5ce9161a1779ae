"""``farm up``: all roles on this machine."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.console import screen, settings_of, stop_on_signals
from farm.errors import BrokerError
from farm.settings import Settings

if TYPE_CHECKING:
    from threading import Event

    from farm.supervisor import Supervisor

_REFRESH_S = 0.5
# Idle must hold this long: the writer's last counts may still be on their way.
_IDLE_FOR_S = 2.0


@click.command()
@click.option(
    "--until-idle", is_flag=True, help="Stop when the backlog is empty and the last refit is done."
)
@click.option("--slots", type=click.IntRange(1), help="Jobs at a time (default: one a core).")
@click.option("--no-trainer", is_flag=True, help="Compute only.")
@click.pass_context
def up(ctx: click.Context, until_idle: bool, slots: int | None, no_trainer: bool) -> None:
    """Run a whole farm on this machine: scheduler, writer, cpu worker, trainer.

    Starts an embedded Redis unless FARM_REDIS_URL names one. Ctrl-C stops everything; running
    jobs go back to the backlog and go on with the next `farm up`.

    \b
    farm seed && farm up --until-idle
    """
    from farm.supervisor import Role, Supervisor

    settings = settings_of(ctx, slots=slots)
    settings.home.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()
    roles = [
        Role("scheduler", ("scheduler",)),
        Role("writer", ("writer",)),
        Role("worker", ("worker", "--slots", str(settings.slots))),
    ]
    if not no_trainer:
        roles.append(Role("trainer", ("trainer",)))
    started = time.monotonic()
    with broker_url(settings) as url:
        backlog = Backlog(connect(url), name=settings.name)
        with Supervisor(settings, url, roles) as supervisor:
            _watch(supervisor, backlog, settings, stop, until_idle=until_idle)
    if until_idle and not stop.is_set():
        from farm.cli.summary import closing_screen

        closing_screen(settings, time.monotonic() - started)


def _watch(
    supervisor: Supervisor, backlog: Backlog, settings: Settings, stop: Event, *, until_idle: bool
) -> None:
    from rich.live import Live

    from farm.cli.status import gather, render
    from farm.scheduler import is_idle

    console = screen(stderr=True)
    idle_since: float | None = None
    told: dict[str, str] = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            supervisor.check()
            try:
                document = gather(backlog, settings)
                idle = is_idle(backlog, settings)
            except BrokerError as error:
                console.print(f"[yellow]{error}")
                stop.wait(2.0)
                continue
            if console.is_terminal:
                live.update(render(document), refresh=True)
            _tell_finished(backlog, told)
            idle_since = (idle_since or time.monotonic()) if idle else None
            if until_idle and idle_since and time.monotonic() - idle_since > _IDLE_FOR_S:
                return
            stop.wait(_REFRESH_S)


def _tell_finished(backlog: Backlog, told: dict[str, str]) -> None:
    """One line on stderr for each job that finished since the last look, and for each refit."""
    from farm.job import FINAL_STATES

    counts = backlog.counts()
    n_final = sum(counts[state] for state in FINAL_STATES)
    if str(n_final) == told.get("n"):
        return
    for job in sorted(backlog.jobs(FINAL_STATES), key=lambda job: job.changed_ms):
        if told.get(job.job_id) != str(job.changed_ms):
            seconds = "" if job.cpu_s is None else f"{job.cpu_s:7.1f} CPU s"
            print(f"{job.state.value:<12}{job.material_id:<22}{seconds}  {job.reason}", file=sys.stderr)  # noqa: T201
            told[job.job_id] = str(job.changed_ms)
    told["n"] = str(n_final)
