"""``farm up``: all roles on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from farm.backlog import Backlog, unfinished
from farm.broker import broker_url, connect, revive
from farm.console import screen, settings_of, stop_on_signals
from farm.errors import BrokerError
from farm.job import JobState
from farm.settings import Settings

if TYPE_CHECKING:
    from threading import Event

    from farm.supervisor import Supervisor

_COLOURS = {JobState.FAILED: "red", JobState.UNCONVERGED: "yellow", JobState.CANCELLED: "yellow"}
_REFRESH_S = 0.5
# Idle must hold this long: the writer's last counts may still be on their way.
_IDLE_FOR_S = 2.0
# What shells know for Ctrl-C: what was asked for with --until-idle is not done.
_INTERRUPTED = 130


@click.command()
@click.option(
    "--until-idle", is_flag=True, help="Stop when the backlog is empty and the last refit is done."
)
@click.option("--slots", type=click.IntRange(1), help="Jobs at a time (default: one a core).")
@click.option("--no-trainer", is_flag=True, help="Compute only.")
@click.option(
    "--dashboard",
    "dashboard_port",
    type=click.IntRange(1, 65535),
    is_flag=False,
    flag_value=8080,
    metavar="[PORT]",
    help="And the pages to watch it on (default: port 8080), on loopback.",
)
@click.pass_context
def up(
    ctx: click.Context, until_idle: bool, slots: int | None, no_trainer: bool, dashboard_port: int | None
) -> int:
    """Run a whole farm on this machine: scheduler, writer, cpu worker, trainer.

    Starts an embedded Redis unless FARM_REDIS_URL names one. Ctrl-C stops everything; running
    jobs go back to the backlog and go on with the next `farm up`.

    \b
    farm up --until-idle           all that is queued, then stop
    farm up --slots 2 --no-trainer
    farm up --dashboard            and http://127.0.0.1:8080
    """
    from farm.scheduler import is_idle
    from farm.supervisor import Role, Supervisor

    settings = settings_of(ctx, slots=slots)
    settings.home.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()
    roles = [
        Role("scheduler", ("scheduler",)),
        Role("writer", ("writer",), stops_last=True),
        Role("worker", ("worker", "--slots", str(settings.slots))),
    ]
    if not no_trainer:
        roles.append(Role("trainer", ("trainer",)))
    if dashboard_port:
        roles.append(Role("dashboard", ("dashboard", "--port", str(dashboard_port))))
        click.echo(f"Dashboard: http://127.0.0.1:{dashboard_port}", err=True)
    started = time.monotonic()
    with broker_url(settings) as url:
        backlog = Backlog(connect(url), name=settings.name)
        with Supervisor(settings, url, roles) as supervisor:
            watch = partial(is_idle, backlog, settings, with_trainer=not no_trainer) if until_idle else None
            _watch(supervisor, backlog, settings, stop, is_done=watch)
            if stop.is_set():
                click.echo("Stopping: jobs that end within seconds are kept, others go back.", err=True)
        n_left = unfinished(backlog.counts())
    if stop.is_set():
        click.echo(f"Stopped; jobs to do: {n_left}; `farm up` goes on with them.", err=True)
        return _INTERRUPTED if until_idle else 0
    if until_idle:
        from farm.cli.summary import closing_screen

        closing_screen(settings, time.monotonic() - started)
        if n_left:
            click.echo(f"{n_left} jobs wait for a worker that may take them; `farm status` says which.")
    return 0


def _watch(
    supervisor: Supervisor,
    backlog: Backlog,
    settings: Settings,
    stop: Event,
    *,
    is_done: Callable[[], bool] | None,
) -> None:
    from rich.live import Live
    from rich.markup import escape

    from farm.cli.status import render
    from farm.overview import gather

    console = screen(stderr=True)
    news = _News(backlog)
    idle_since: float | None = None
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            supervisor.check()
            try:
                document = gather(backlog, settings)
                idle = is_done is not None and is_done()
                for line in news.lines():
                    console.print(line)
            except BrokerError as error:
                console.print(f"[yellow]{escape(str(error))}")
                revive(settings)
                stop.wait(2.0)
                continue
            if console.is_terminal:
                live.update(render(document), refresh=True)
            idle_since = (idle_since or time.monotonic()) if idle else None
            if idle_since and time.monotonic() - idle_since > _IDLE_FOR_S:
                return
            stop.wait(_REFRESH_S)


class _News:
    """What happened since the last look: a line for each finished job and each finished refit."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._seen_ms = int(backlog.now_s() * 1000)
        self._refit = backlog.roster.refit_state().get("message", "")

    def lines(self) -> list[str]:
        """One line for each thing that happened, with colours."""
        from rich.markup import escape

        lines = []
        for job in self._backlog.finished_since(self._seen_ms):
            self._seen_ms = job.changed_ms
            colour = _COLOURS.get(job.state, "green")
            seconds = "" if job.cpu_s is None else f"{job.cpu_s:7.1f} CPU s"
            words = f"{job.material_id:<22}{seconds}  {job.reason}".rstrip()
            lines.append(f"[{colour}]{job.state.value:<12}[/]{escape(words)}")
        refit = self._backlog.roster.refit_state().get("message", "")
        if refit != self._refit:
            self._refit = refit
            lines.append(f"[cyan]{'refit':<12}[/]{escape(refit)}")
        return lines
