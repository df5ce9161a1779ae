"""``farm health`` and ``farm metrics``: what containers and Prometheus ask."""

from __future__ import annotations

import socket

import click

from farm.console import echo_json, open_backlog, settings_of

ROLES = ("scheduler", "writer", "worker", "trainer")


@click.command()
@click.argument("role", type=click.Choice(ROLES))
@click.option("--any-host", is_flag=True, help="Ask for one anywhere, not on this host.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def health(ctx: click.Context, role: str, any_host: bool, as_json: bool) -> int:
    """Say whether a role is alive on this host: exit code 0, or 1 with the reason.

    A cpu worker that takes no jobs for the moment (a full disk) is alive: restarting it mends nothing. Any
    scheduler that leads counts: a second one waits.

    \b
    farm health worker             for the health check of a container
    farm health writer --any-host
    """
    with open_backlog(settings_of(ctx)) as backlog:
        if role == "scheduler":
            alive = [leader] if (leader := backlog.roster.leader()) else []
        else:
            alive = [worker["name"] for worker in backlog.roster.workers() if worker["role"] == role]
            here = f"{role}@{socket.gethostname()}."
            alive = [name for name in alive if any_host or name.startswith(here)]
    if as_json:
        echo_json({"role": role, "alive": alive})
    elif alive:
        click.echo(", ".join(alive))
    else:
        where = "" if any_host or role == "scheduler" else " on this host"
        click.echo(
            f"no {role} has spoken lately{where}: `farm {role}` starts one, its log says more", err=True
        )
    return 0 if alive else 1


@click.command()
@click.pass_context
def metrics(ctx: click.Context) -> None:
    """Print the farm's metrics in Prometheus' text format, once.

    The dashboard serves the same at /metrics.

    \b
    farm metrics | grep farm_jobs
    farm metrics > /var/lib/node_exporter/textfile/farm.prom
    """
    from farm.failures import count_failures
    from farm.metrics import exposition

    settings = settings_of(ctx)
    with open_backlog(settings) as backlog:
        text = exposition(backlog, settings, count_failures(settings.store_path))
    click.echo(text.decode(), nl=False)
