"""``farm scheduler``, ``farm writer`` and ``farm flower``: the roles that need no other package."""

from __future__ import annotations

import os
import secrets

import click

from farm.broker import broker_url, connect, tls_options
from farm.console import begin_role, open_backlog, settings_of, stop_on_signals
from farm.errors import FarmError, SettingsError
from farm.listening import is_loopback


@click.command()
@click.pass_context
def scheduler(ctx: click.Context) -> None:
    """Feed the queues in order, bring back lost jobs, ask for refits.

    \b
    farm scheduler      one a farm; a second one waits and takes over
    """
    from farm.queues import make_app
    from farm.scheduler import run

    begin_role()
    settings = settings_of(ctx)
    stop = stop_on_signals()
    with broker_url(settings) as url, open_backlog(settings) as backlog:
        run(backlog, make_app(url, name=settings.name), settings, should_stop=stop.is_set)


@click.command()
@click.pass_context
def writer(ctx: click.Context) -> None:
    """Write delivered results to the HDF5 store.

    \b
    farm writer         one a farm, on the host that has the store
    """
    from farm.backlog import Backlog
    from farm.queues import STORE_QUEUE, make_app
    from farm.serving import serve, worker_name
    from farm.store import StoreWriter
    from farm.writer import register, remember_costs, report_counts, store_waiting

    begin_role()
    settings = settings_of(ctx)
    settings.home.mkdir(parents=True, exist_ok=True)
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        remember_costs(backlog, settings.store_path)
        with StoreWriter(settings.store_path) as store_writer:
            store_waiting(backlog, store_writer)
            report_counts(backlog, store_writer)
            register(app, backlog, store_writer)
            serve(app, backlog, name=worker_name("writer"), queues=[STORE_QUEUE], slots=None)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, show_default=True)
@click.option("--password", help="For user 'farm' (FARM_FLOWER_PASSWORD; default: a random one, printed).")
@click.pass_context
def flower(ctx: click.Context, host: str, port: int, password: str | None) -> None:
    """Watch the queues in Flower: loopback, password, read-only.

    Beyond loopback only with a password of yours.

    \b
    farm flower --port 5555
    """
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
            app.start(arguments)
        except OSError as error:
            raise FarmError(f"port {port}: {error.strerror}", fix="Choose another with --port") from error
