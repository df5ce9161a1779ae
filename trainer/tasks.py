"""The Celery tasks of the trainer, and ``farm trainer``: refit and rank when the scheduler asks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click
from kombu.exceptions import OperationalError

from farm.backlog import Backlog
from farm.errors import BrokerError, FarmError, MissingProgramError
from farm.queues import RANK, REFIT, TRAINER_QUEUE, make_app
from farm.repeated import repeated
from farm.settings import Settings
from farm.usable_cpus import usable_cpus

if TYPE_CHECKING:
    from celery import Celery

    from trainer.fitting.rungs import RefitProgress

LOGGER = logging.getLogger(__name__)

_HEARTBEATS_PER_LEASE = 4
_TELL_EVERY_S = 2.0
# The first in the order: what is ranked by one policy stays within seconds, and so does reading it.
_MOST_RANKED = 20_000


@contextmanager
def announced(backlog: Backlog, lease_s: float) -> Iterator[None]:
    """Tell the scheduler for as long as the refit runs that its trainer is alive."""

    def tell() -> bool:
        try:
            backlog.roster.set_refit_state(state="running", until_s=backlog.now_s() + lease_s)
        except BrokerError as error:
            LOGGER.warning("refit: heartbeat: %s", error)
        return True

    backlog.roster.set_refit_state(state="running", until_s=backlog.now_s() + lease_s)
    with repeated(tell, lease_s / _HEARTBEATS_PER_LEASE, name="refit heartbeat"):
        yield


def _told(backlog: Backlog) -> RefitProgress:
    """How far the fits are, for `farm status`; a Redis that is away misses a line."""
    told_s = -_TELL_EVERY_S

    def tell(stage: str, epoch: int, loss: float, validation_loss: float) -> None:
        nonlocal told_s
        if time.monotonic() - told_s < _TELL_EVERY_S:
            return
        told_s = time.monotonic()
        text = f"{stage}, epoch {epoch + 1}, loss {loss:.3f}, on validation {validation_loss:.3f}"
        with suppress(BrokerError):
            backlog.roster.set_refit_state(progress=text)

    return tell


def run_refit(n_rpa: int, backlog: Backlog, settings: Settings) -> None:
    """One refit on what the store holds now; the scheduler is told how it ended.

    ``n_rpa`` is how many RPA spectra there were when it was asked for: what arrives during the
    fit counts towards the next. A refit that was killed goes on where it was.
    """
    from trainer.fitting.recipes import plan_of
    from trainer.fitting.refit import refit

    failures = int(backlog.roster.refit_state().get("failures", 0))
    try:
        with announced(backlog, settings.refit_lease_s):
            report = refit(
                settings.store_path,
                settings.checkpoints_dir,
                now=datetime.now(UTC),
                plan=plan_of(settings),
                split_file=settings.refit_split,
                n_rpa=n_rpa,
                on_progress=_told(backlog),
            )
    except FarmError as error:
        LOGGER.error("refit: %s", error)
        backlog.roster.set_refit_state(state="idle", failures=failures + 1, message=str(error))
        return
    except SystemExit:
        # Told to stop in the middle: no failure, and no lease to wait for.
        backlog.roster.set_refit_state(state="idle", failures=failures)
        raise
    LOGGER.info("refit: %s", report.message)
    # One that was killed has ended on the materials it began with: what came since calls the next.
    fitted = n_rpa if report.n_rpa is None else report.n_rpa
    backlog.roster.set_refit_state(state="idle", failures=0, n_rpa=fitted, message=report.message)


def run_rank(backlog: Backlog, settings: Settings) -> None:
    """Order what waits by the policy, with the model in use; the order stays as it is where that fails."""
    try:
        if settings.policy == "cheapest":
            # No crystal is read and torch is not loaded; what another policy had placed goes back.
            backlog.place(dict.fromkeys(backlog.ready_order()))
            return
        from trainer.inference.ranking import rank, ranking_device

        ranking = rank(
            backlog.ready_jobs(_MOST_RANKED),
            settings.policy,
            checkpoints_dir=settings.checkpoints_dir,
            store_path=settings.store_path,
            device=ranking_device(),
        )
        # All at the end: a ranking that dies on its way has changed nothing.
        backlog.place(ranking.places)
    except FarmError as error:
        LOGGER.error("ranking: the order stays as it is: %s", error)
        return
    LOGGER.info("ranking: %s", ranking.message)


def register(app: Celery, backlog: Backlog, settings: Settings) -> None:
    """Register the tasks the scheduler sends; a refit is followed by a ranking with what it fitted."""

    @app.task(name=REFIT, shared=False)  # type: ignore[untyped-decorator]  # celery has no types
    def refit(n_rpa: int) -> None:
        run_refit(n_rpa, backlog, settings)
        if settings.policy != "cheapest":
            run_rank(backlog, settings)

    @app.task(name=RANK, shared=False)  # type: ignore[untyped-decorator]
    def rank() -> None:
        run_rank(backlog, settings)


def threads_of(environment: Mapping[str, str]) -> str:
    """``OMP_NUM_THREADS``: as given, else one beside the workers of `farm up`, all where it is alone."""
    alone = "1" if environment.get("FARM_SUPERVISED") else str(usable_cpus())
    return environment.get("OMP_NUM_THREADS") or alone


@click.command()
@click.pass_context
def trainer(ctx: click.Context) -> None:
    """Refit the model when the scheduler asks.

    \b
    farm trainer        one a GPU, or one on a CPU, on a host that sees the store
    """
    os.environ["OMP_NUM_THREADS"] = threads_of(os.environ)
    from farm.broker import broker_url, connect
    from farm.console import begin_role, settings_of
    from farm.free_disk import free_disk_told
    from farm.serving import serve, worker_name

    if find_spec("torch") is None:
        # Else it would be told at the first refit.
        raise MissingProgramError(
            "torch is not installed", fix="`pip install '.[trainer]'` where its source is"
        )
    begin_role()
    settings = settings_of(ctx)
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        register(app, backlog, settings)
        # The policy may be another than when what waits was ranked, and the model one that was pulled.
        with suppress(OperationalError):  # a Redis that is away is waited for below
            app.send_task(RANK, queue=TRAINER_QUEUE)
        serve(
            app,
            backlog,
            name=worker_name("trainer"),
            queues=[TRAINER_QUEUE],
            slots=None,
            state=lambda: free_disk_told(settings.checkpoints_dir),
        )
