"""A real Celery worker process whose calculation is a sleep; run by test_worker_processes.py.

Arguments: Redis URL, farm name, lease in seconds, seconds of the calculation, file to log starts to; and as
JSON, where it is to leave, ``slots``, ``walltime_s``, ``until_idle_s``, ``grace_s`` and ``spare_s``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import farm.leaving
import farm.serving
import workers.horizon
import workers.tasks
import workers.walltime
from farm.backlog import Backlog
from farm.broker import connect
from farm.errors import LeaseLostError
from farm.hold import Hold
from farm.job import Job, Outcome, Stage
from farm.queues import cpu_queue, make_app
from farm.result import Result, StageUsage
from farm.serving import serve, worker_name
from workers.horizon import Horizon


class _Switch:
    """A machine that is able or not as a file says."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def why_not(self) -> Hold | None:
        """Why no job should be taken now; None when one may."""
        return Hold("the disk is full") if self._path.exists() else None


def main(url: str, name: str, lease_s: str, work_s: str, starts: str, leave: str = "{}") -> None:
    """Serve the cpu queue, with one slot unless told otherwise."""
    begin_s = time.time()
    asked = {"slots": 1, "walltime_s": None, "until_idle_s": None, "grace_s": 5.0, **json.loads(leave)}
    farm.leaving._SPARE_S = asked.get("spare_s", farm.leaving._SPARE_S)
    # A test has seconds where a cluster has hours.
    workers.walltime.SPARE_S = workers.walltime._AROUND_S = 0.0
    if leave != "{}":
        farm.serving.REPORT_EVERY_S = workers.horizon._LOOK_EVERY_S = 0.4
        workers.tasks._CLOSING_S = 0.8

    def compute(
        job: Job,
        *,
        scratch: Path,  # noqa: ARG001 - the real signature
        pseudo_dir: Path,  # noqa: ARG001
        on_progress: Callable[[Stage, str], None],
        cancelled: threading.Event,
        ranks: int,  # noqa: ARG001
    ) -> Result:
        with Path(starts).open("a", encoding="utf-8") as log:
            log.write(f"{job.crystal.material_id} {os.getpid()}\n")
        on_progress(Stage.BANDS, "asleep")
        end = time.monotonic() + float(work_s)
        while time.monotonic() < end:
            if cancelled.wait(0.02):
                raise LeaseLostError("taken away")
        return Result(
            crystal=job.crystal,
            protocol=job.protocol,
            protocol_hash=job.protocol_hash,
            engine=job.engine,
            outcome=Outcome.METAL,
            reason="asleep",
            stages=(StageUsage(stage=Stage.BANDS, cpu_s=0.1, wall_s=0.1, peak_memory_mb=1.0),),
        )

    workers.tasks.compute = compute
    app = make_app(url, name=name)
    backlog = Backlog(connect(url), name=name)
    owner = worker_name("worker")
    # Able for as long as the file that logs starts has no neighbour of this name.
    readiness = _Switch(Path(starts).with_name("not-ready"))
    end_s = asked["walltime_s"] and begin_s + asked["walltime_s"]
    walltime = end_s and workers.walltime.Walltime(begin_s=begin_s, end_s=end_s, grace_s=asked["grace_s"])
    horizon = Horizon(backlog, owner, ["native.small"], 1, walltime, asked["until_idle_s"])
    slot = workers.tasks.Slot(
        owner=owner,
        scratch=Path(),
        pseudo_dir=Path(),
        lease_s=float(lease_s),
        readiness=cast("Any", readiness),
        horizon=horizon,
    )
    workers.tasks.register(app, backlog, slot)
    serve(
        app,
        backlog,
        name=owner,
        queues=[cpu_queue("native.small")],
        slots=asked["slots"],
        why_not=readiness.why_not,
        stay=horizon.stay(asked["grace_s"]),
        on_leave=lambda: backlog.release_owner(owner, "stopped"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
