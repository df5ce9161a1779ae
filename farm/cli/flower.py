"""``farm flower``: Celery's own monitor, shut in and told what a job is."""

from __future__ import annotations

import os
import secrets

import click

from farm.broker import broker_url, connect, tls_options
from farm.console import settings_of
from farm.errors import FarmError, SettingsError
from farm.listening import is_loopback


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--password", help="For user 'farm' (FARM_FLOWER_PASSWORD; default: a random one, printed).")
@click.pass_context
def flower(ctx: click.Context, host: str, port: int, password: str | None) -> None:
    """Watch the queues in Flower: loopback, password, read-only.

    Jobs have their formula and material as arguments, and their stage behind them. Beyond loopback it asks
    for a password of yours.

    \b
    farm flower --port 5555
    """
    from farm.backlog import Backlog
    from farm.flower_progress import telling
    from farm.queues import make_app

    settings = settings_of(ctx)
    given = password or os.environ.get("FARM_FLOWER_PASSWORD")
    if not given and not is_loopback(host):
        raise SettingsError(f"--host {host}: a password must be set", fix="Set FARM_FLOWER_PASSWORD")
    secret = given or secrets.token_urlsafe(12)
    if ":" in secret:
        raise SettingsError("--password: a colon is not possible", fix="Choose another password")
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        # Its page of the queues connects by itself, and takes TLS from here alone.
        app.conf.broker_use_ssl = tls_options(url) or False
        told = "the one given" if given else secret
        click.echo(f"Flower: http://{host}:{port}  user farm, password {told}", err=True)
        # Not among the arguments: every user of the machine can read those of a process.
        os.environ["FLOWER_BASIC_AUTH"] = f"farm:{secret}"
        # Without read_only anyone logged in can shut workers down.
        arguments = ["flower", f"--address={host}", f"--port={port}", "--read_only=True"]
        try:
            with telling(Backlog(connect(url), name=settings.name), app):
                app.start(arguments)
        except OSError as error:
            raise FarmError(f"port {port}: {error.strerror}", fix="Choose another with --port") from error
