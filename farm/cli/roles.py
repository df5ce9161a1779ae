"""``farm scheduler`` and ``farm writer``: the roles that need no other package."""

from __future__ import annotations

import click

from farm.broker import broker_url, connect
from farm.console import begin_role, open_backlog, settings_of, stop_on_signals


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
    from farm.free_disk import free_disk_told
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
            serve(
                app,
                backlog,
                name=worker_name("writer"),
                queues=[STORE_QUEUE],
                slots=None,
                state=lambda: free_disk_told(settings.store_path),
            )
