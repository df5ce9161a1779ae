"""A cpu worker of benchmarks/soak.py, real but for its calculation: a program ended after 20 to 200 ms.

Arguments: Redis URL, lease in seconds, directory. Every start, and every commit that was taken or refused,
is a line of the file ``events`` there.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import workers.tasks
from farm.backlog import Backlog
from farm.broker import connect
from farm.errors import LeaseLostError
from farm.job import QUEUES, Job, Outcome, Stage
from farm.queues import cpu_queue, make_app
from farm.result import LadderStep, Result, StageUsage
from farm.serving import serve, worker_name
from workers.launcher import launch

# Never waited for: whoever is left over is seen.
PROGRAM_S = 86400
SHORTEST_S, LONGEST_S = 0.02, 0.2
# A job may lose this many workers: what is looked for is what gets lost, not the bound.
MAX_ATTEMPTS = 20


def result_of(job: Job, wall_s: float) -> Result:
    """Spectra of a Lorentz oscillator on two rungs."""
    energies = np.linspace(0.0, 20.0, 2001)
    eps = np.repeat((1 + 60 / (64 - energies**2 - 4j))[None], 3, axis=0)
    rungs = ((0, 1, None), (2000, 15, (0.95, 0.95, 0.95)))
    return Result(
        crystal=job.crystal,
        protocol=job.protocol,
        protocol_hash=job.protocol_hash,
        engine=job.engine,
        outcome=Outcome.DONE,
        ladder=tuple(LadderStep(gmax_mry=g, n_g=n, step_similarity=sc, eps=eps) for g, n, sc in rungs),
        gmax_converged_mry=(2000, 2000, 2000),
        gap_indirect_ev=4.0,
        gap_direct_ev=4.0,
        stages=(StageUsage(stage=Stage.BANDS, cpu_s=wall_s, wall_s=wall_s, peak_memory_mb=1.0),),
    )


def main(url: str, lease_s: str, directory: str) -> None:
    """Serve every queue with one slot."""
    home = Path(directory)
    program = ["sleep", f"{PROGRAM_S}.{home.name}"]

    def note(what: str, job_id: str) -> None:
        # One write a line: lines of several processes do not mix.
        with (home / "events").open("a", encoding="utf-8") as log:
            log.write(f"{what} {job_id} {time.monotonic():.3f} {os.getpid()}\n")

    def compute(
        job: Job, *, on_progress: Callable[[Stage, str], None], cancelled: threading.Event, **_: object
    ) -> Result:
        """What stands for the calculation: a program that is there for as long as it takes."""
        note("started", job.job_id)
        on_progress(Stage.BANDS, "asleep")
        wall_s = random.Random(job.job_id).uniform(SHORTEST_S, LONGEST_S)  # noqa: S311 - how long it takes
        null = Path(os.devnull)
        process = launch(program, directory=home, stdout=null, stderr=null)
        try:
            if cancelled.wait(wall_s):
                raise LeaseLostError(f"{job.job_id}: taken away")
        finally:
            process.kill_group()
        return result_of(job, wall_s)

    def deliver(self: Backlog, job_id: str, token: str, payload: bytes) -> bool:
        try:
            taken = really_deliver(self, job_id, token, payload)
        except LeaseLostError:
            note("refused", job_id)
            raise
        note("committed", job_id)
        return taken

    really_deliver, Backlog.deliver = Backlog.deliver, deliver  # type: ignore[method-assign]
    workers.tasks.compute = compute  # type: ignore[assignment]
    app, backlog = make_app(url), Backlog(connect(url))
    owner = worker_name("worker")
    slot = workers.tasks.Slot(
        owner=owner, scratch=home, pseudo_dir=home, lease_s=float(lease_s), max_attempts=MAX_ATTEMPTS
    )
    workers.tasks.register(app, backlog, slot)
    serve(
        app,
        backlog,
        name=owner,
        queues=[cpu_queue(queue) for queue in QUEUES],
        slots=1,
        on_leave=lambda: backlog.release_owner(owner, "stopped"),
        state={"queues": list(QUEUES)},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
