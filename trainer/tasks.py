"""The Celery task of the trainer, and ``farm trainer``: refit when the scheduler asks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from farm.backlog import Backlog
from farm.errors import BrokerError, FarmError
from farm.queues import REFIT, TRAINER_QUEUE, make_app
from farm.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

LOGGER = logging.getLogger(__name__)

_HEARTBEATS_PER_LEASE = 4


@contextmanager
def announced(backlog: Backlog, lease_s: float) -> Iterator[None]:
    """Tell the scheduler for as long as the refit runs that its trainer is alive."""
    stopped = threading.Event()

    def run() -> None:
        while not stopped.wait(lease_s / _HEARTBEATS_PER_LEASE):
            try:
                backlog.roster.set_refit_state(state="running", until_s=backlog.now_s() + lease_s)
            except BrokerError as error:
                LOGGER.warning("refit: heartbeat: %s", error)

    backlog.roster.set_refit_state(state="running", until_s=backlog.now_s() + lease_s)
    thread = threading.Thread(target=run, name="refit heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def run_refit(n_rpa: int, backlog: Backlog, settings: Settings) -> None:
    """One refit on what the store holds now; the scheduler is told how it ended.

    ``n_rpa`` is how many RPA spectra there were when it was asked for: what arrives during the
    fit counts towards the next.
    """
    from trainer.refit import refit

    failures = int(backlog.roster.refit_state().get("failures", 0))
    try:
        with announced(backlog, settings.refit_lease_s):
            report = refit(settings.store_path, settings.checkpoints_dir, now=datetime.now(UTC))
    except FarmError as error:
        LOGGER.error("refit: %s", error)
        backlog.roster.set_refit_state(state="idle", failures=failures + 1, message=str(error))
        return
    LOGGER.info("refit: %s", report.message)
    backlog.roster.set_refit_state(state="idle", failures=0, n_rpa=n_rpa, message=report.message)


def register(app: Celery, backlog: Backlog, settings: Settings) -> None:
    """Register the task the scheduler sends."""

    @app.task(name=REFIT)  # type: ignore[untyped-decorator]  # celery has no types
    def task(n_rpa: int) -> None:
        run_refit(n_rpa, backlog, settings)


@click.command()
@click.pass_context
def trainer(ctx: click.Context) -> None:
    """Refit the model when the scheduler asks.

    \b
    farm trainer        one a GPU, or one on a CPU, on a host that sees the store
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from farm.broker import broker_url, connect
    from farm.console import begin_role, settings_of
    from farm.serving import serve, worker_name

    begin_role()
    settings = settings_of(ctx)
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        register(app, backlog, settings)
        serve(app, backlog, name=worker_name("trainer"), queues=[TRAINER_QUEUE], slots=None)
