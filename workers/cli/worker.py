"""``farm worker``: compute jobs on this machine."""

from __future__ import annotations

import os
from functools import partial

import click


@click.command()
@click.option("--slots", type=click.IntRange(1), help="Jobs at a time (default: one a core).")
@click.option("--ranks", type=click.IntRange(1), help="MPI ranks of a job's programs (default: 1).")
@click.option(
    "--slot-memory-mb",
    type=click.FloatRange(1),
    help="Memory of one slot (default: the machine's, shared by the slots).",
)
@click.pass_context
def worker(ctx: click.Context, slots: int | None, ranks: int | None, slot_memory_mb: float | None) -> None:
    """Compute jobs: Quantum ESPRESSO, then the response.

    Jobs for YAMBO are taken where yambo, p2y and mpirun are on PATH; jobs that need more memory than a slot
    has are left to others.

    \b
    farm worker --slots 4                 four jobs at a time on this machine
    farm worker --slots 1 --ranks 8       one large job at a time
    """
    # numpy in the pool processes must not use the cores of the neighbouring slots.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from farm.backlog import Backlog
    from farm.broker import broker_url, connect
    from farm.console import begin_role, settings_of
    from farm.job import Engine, queue_name
    from farm.pseudopotentials import pseudopotential_directory
    from farm.queues import cpu_queue, make_app
    from farm.serving import serve, worker_name
    from farm.slot_class import served_by
    from workers.machine import total_memory_bytes
    from workers.preflight import has_engine, require_programs
    from workers.readiness import Readiness
    from workers.tasks import Slot, register, sweep_scratch

    begin_role()
    settings = settings_of(ctx, slots=slots, ranks=ranks, slot_memory_mb=slot_memory_mb)
    programs = require_programs()
    memory_mb = settings.slot_memory_mb or total_memory_bytes() / 2**20 / settings.slots
    engines = [engine for engine in Engine if has_engine(engine)]
    queues = [queue_name(engine, each) for engine in engines for each in sorted(served_by(memory_mb))]
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        name = worker_name("worker")
        readiness = Readiness(backlog, name, settings.scratch_dir, settings.least_free_disk_mb)
        slot = Slot(
            owner=name,
            scratch=settings.scratch_dir,
            pseudo_dir=pseudopotential_directory(),
            lease_s=settings.lease_s,
            ranks=settings.ranks,
            max_attempts=settings.max_attempts,
            max_returns=settings.max_returns,
            hold_s=settings.hold_s,
            readiness=readiness,
        )
        sweep_scratch(backlog, settings.scratch_dir)
        register(app, backlog, slot)
        serve(
            app,
            backlog,
            name=name,
            queues=[cpu_queue(queue) for queue in queues],
            slots=settings.slots,
            on_leave=partial(backlog.release_owner, name, "its worker was stopped"),
            why_not=readiness.why_not,
            state={
                "programs": programs,
                "engines": engines,
                "queues": queues,
                "slot_memory_mb": round(memory_mb),
                "ranks": settings.ranks,
            },
        )
