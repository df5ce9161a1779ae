"""``farm worker``: compute jobs on this machine."""

from __future__ import annotations

import os
import time
from functools import partial

import click


class _Duration(click.ParamType[float]):
    """``4h`` or ``04:00:00``, in seconds."""

    name = "duration"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a usage error for anything else."""
        from workers.walltime import parse_duration_s

        seconds = parse_duration_s(value)
        if not seconds:
            self.fail(f"{value!r}: write 4h, 90m, 1d12h, 04:00:00 or 1-12:00:00", param, ctx)
        return seconds


@click.command()
@click.option("--slots", type=click.IntRange(1), help="Jobs at a time (default: one a core).")
@click.option("--ranks", type=click.IntRange(1), help="MPI ranks of a job's programs (default: 1).")
@click.option(
    "--slot-memory-mb",
    type=click.FloatRange(1),
    help="Memory of one slot (default: the machine's, shared by the slots).",
)
@click.option(
    "--walltime",
    "walltime_s",
    type=_Duration(),
    help="It has to be gone after this (4h, 90m, 04:00:00; default: what Slurm or Torque says).",
)
@click.option(
    "--until-idle-s", type=click.FloatRange(0, min_open=True), help="Leave after so long without a job."
)
@click.option(
    "--grace-s",
    type=click.FloatRange(0),
    help="When told to stop, end what ends in this time (default: 5).",
)
@click.pass_context
def worker(ctx: click.Context, /, walltime_s: float | None, **flags: float | None) -> None:
    """Compute jobs: Quantum ESPRESSO, then the response.

    Jobs for YAMBO are taken where yambo, p2y and mpirun are on PATH; jobs that need more memory than a slot
    has are left to others, and so are jobs that would not end within the walltime. Before that ends the
    worker leaves by itself. Told to stop (SIGTERM), it ends what it can within the grace and hands the rest
    over, uncounted; told once more, all at once. Told to drain (SIGUSR2), it takes no more jobs and leaves.

    \b
    farm worker --slots 4                 four jobs at a time on this machine
    farm worker --slots 1 --ranks 8       one large job at a time
    farm worker --walltime 4h             of a batch system that does not say when it ends
    farm worker --until-idle-s 300        leave when there is nothing to do
    """
    # numpy in the pool processes must not use the cores of the neighbouring slots.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from farm.backlog import Backlog
    from farm.broker import broker_url, connect
    from farm.console import begin_role, settings_of
    from farm.free_disk import free_disk_told
    from farm.job import Engine, queue_name
    from farm.pseudopotentials import pseudopotential_directory
    from farm.queues import cpu_queue, make_app
    from farm.serving import serve, worker_name
    from farm.slot_class import served_by
    from workers.batch_system import end_of_job_s
    from workers.horizon import Horizon
    from workers.machine import total_memory_bytes
    from workers.preflight import has_engine, require_programs
    from workers.readiness import Readiness
    from workers.tasks import Slot, register, sweep_scratch
    from workers.walltime import Walltime

    begin_role()
    begin_s = time.time()
    settings = settings_of(ctx, **flags)
    end_s = begin_s + walltime_s if walltime_s else end_of_job_s(os.environ, begin_s)
    programs = require_programs()
    memory_mb = settings.slot_memory_mb or total_memory_bytes() / 2**20 / settings.slots
    engines = [engine for engine in Engine if has_engine(engine)]
    queues = [queue_name(engine, each) for engine in engines for each in sorted(served_by(memory_mb))]
    with broker_url(settings) as url:
        app = make_app(url, name=settings.name)
        backlog = Backlog(connect(url), name=settings.name)
        name = worker_name("worker")
        readiness = Readiness(backlog, name, settings.scratch_dir, settings.least_free_disk_mb)
        walltime = None
        if end_s is not None:
            walltime = Walltime(begin_s=begin_s, end_s=end_s, grace_s=settings.grace_s)
        horizon = Horizon(backlog, name, queues, settings.ranks, walltime, settings.until_idle_s)
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
            horizon=horizon,
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
            stay=horizon.stay(settings.grace_s),
            state=lambda: {
                "programs": programs,
                "engines": engines,
                "queues": queues,
                "slot_memory_mb": round(memory_mb),
                "ranks": settings.ranks,
                **free_disk_told(settings.scratch_dir),
            },
        )
