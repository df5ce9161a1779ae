"""``farm dashboard``: the pages to watch a farm on."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import click

from farm.cli.stopping import caught_signals
from farm.console import begin_role, settings_of
from farm.errors import BrokerError, FarmError
from farm.settings import Settings

LOGGER = logging.getLogger(__name__)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="A name it is reached by, as of a proxy; may be repeated.",
)
@click.pass_context
def dashboard(ctx: click.Context, host: str, port: int, host_names: tuple[str, ...]) -> None:
    """Serve the pages to watch a farm on: jobs, materials, failures, the model.

    On loopback everybody on this machine may look. With FARM_DASHBOARD_TOKEN set, whoever has it may also
    pause, retry, cancel and prioritise; with FARM_DASHBOARD_VIEW_TOKEN, only look. Beyond loopback one of
    them must be set, and nothing is shown without.

    \b
    farm dashboard
    farm dashboard --host 0.0.0.0 --host-name farm.example.org
    """
    from farm.dashboard.access import OPERATE_VARIABLE, VIEW_VARIABLE, Scope, make_access
    from farm.dashboard.app import make_app
    from farm.dashboard.farm_view import Farm
    from farm.dashboard.server import patient_backlog, serve

    access = make_access(
        host,
        operate_token=os.environ.get(OPERATE_VARIABLE),
        view_token=os.environ.get(VIEW_VARIABLE),
        host_names=host_names,
    )
    settings = settings_of(ctx)
    with _listening(host, port) as listener, _redis_url(settings) as url:
        begin_role()
        may = "operate" if Scope.OPERATE in access.keys else f"look ({OPERATE_VARIABLE} is not set)"
        address = f"[{host}]" if ":" in host else host
        click.echo(f"Dashboard: http://{address}:{port}  to {may}", err=True)
        with caught_signals():
            serve(make_app(Farm(settings, patient_backlog(url, settings.name)), access), listener)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens. Raises FarmError in one line where it cannot."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except UnicodeError as error:
        raise FarmError(f"{host[:40]!r} is no name of a host", fix="Choose another with --host") from error
    except OSError as error:
        # Python's own words repeat the address.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        fix = "Choose another with --host and --port"
        raise FarmError(f"{host}, port {port}: {reason}", fix=fix) from error
    with listener:
        yield listener


@contextmanager
def _redis_url(settings: Settings) -> Iterator[str]:
    """The farm's Redis, also where a configured one does not answer now: the store can be shown without."""
    from farm.broker import broker_url, complete_url

    if not settings.redis_url:
        with broker_url(settings) as url:
            yield url
        return
    try:
        with broker_url(settings) as url:
            pass
    except BrokerError as error:
        LOGGER.warning("%s", error)
        url = complete_url(settings, settings.redis_url)
    yield url
