"""``farm worker``: compute jobs on this machine."""

from __future__ import annotations

import os
from functools import partial

import click


@click.command()
@click.option("--slots", type=click.IntRange(1), help="Jobs at a time (default: one a core).")
@click.pass_context
def worker(ctx: click.Context, slots: int | None) -> None:
    """Compute jobs: Quantum ESPRESSO, then the response.

    Jobs for YAMBO are taken where yambo, p2y and mpirun are on PATH.

    \b
    farm worker --slots 4      four jobs at a time on this machine
    """
    # numpy in the pool processes must not use the cores of the neighbouring slots.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from farm.backlog import Backlog
    from farm.broker import broker_url, connect
    from farm.console import begin_role, settings_of
    from farm.job import Engine
    from farm.pseudopotentials import pseudopotential_directory
    from farm.queues import cpu_queue, make_app
    from farm.serving import serve, worker_name
    from workers.preflight import has_engine, require_programs
    from workers.tasks import Slot, register, sweep_scratch

    begin_role()
    settings = settings_of(ctx, slots=slots)
    programs = require_programs()
    engines = [engine for engine in Engine if has_engine(engine)]
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        name = worker_name("worker")
        slot = Slot(
            owner=name,
            scratch=settings.scratch_dir,
            pseudo_dir=pseudopotential_directory(),
            lease_s=settings.lease_s,
        )
        sweep_scratch(backlog, settings.scratch_dir)
        register(app, backlog, slot)
        serve(
            app,
            backlog,
            name=name,
            queue=cpu_queue(Engine.NATIVE),
            also=[cpu_queue(engine) for engine in engines if engine is not Engine.NATIVE],
            slots=settings.slots,
            on_leave=partial(backlog.release_owner, name, "its worker was stopped"),
            state={"programs": programs, "engines": engines},
        )
