"""How fast jobs go through the farm that cost nothing, what each costs, and what a long backlog costs.

A Redis of its own (append-only file, every second), one scheduler, one writer, one worker with two slots,
all real processes; the calculation returns at once (a metal: nothing to write but the row). Then a backlog
of a million jobs: seconds to queue, bytes a job, dispatch, `farm status`, reaping. The baseline is a plain
Celery task without leases, order or store, on the same Redis, worker and machine.

    python benchmarks/scheduler_throughput.py [--jobs 3000] [--backlog 1000000] [--slots 2]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
from scipy.stats import spearmanr

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.cost import cost_prior
from farm.crystal import Crystal
from farm.job import Job, JobState, Outcome, Stage
from farm.protocol import PRESETS
from farm.queues import cpu_queue, make_app
from farm.result import Result, StageUsage
from farm.settings import Settings, load_settings

QUEUE = "native.small"
PROTOCOL = PRESETS["paper"]
PLAIN = "benchmark.plain"


def make_jobs(number: int, seed: int = 0) -> Iterator[Job]:
    """Cells of four atoms at general positions, as incompressible as real ones; costs in no order."""
    dice = np.random.default_rng(seed)
    fields, protocol_hash = PROTOCOL.to_dict(), PROTOCOL.hash
    prior = None
    for i in range(number):
        lattice = np.eye(3) * 4.0 + dice.normal(scale=0.3, size=(3, 3))
        crystal = Crystal(
            material_id=f"agm{dice.integers(10**9):09d}-{i}",
            lattice_angstrom=tuple(map(tuple, lattice.tolist())),
            species=("Mg", "O", "Ca", "S"),
            frac_coords=tuple(map(tuple, dice.random((4, 3)).tolist())),
            source="alexandria_le4.json.bz2, agm002315109",
            properties={"band_gap_ind": 2.5, "e_above_hull": 0.012, "total_mag": 0.0, "spg": 166},
        )
        prior = prior or cost_prior(crystal, PROTOCOL)
        yield Job(
            crystal=crystal,
            protocol=fields,
            protocol_hash=protocol_hash,
            predicted_cpu_s=float(dice.lognormal(3.0, 1.0)),
            prior=prior,
        )


def serve_nothing(url: str, slots: str, starts: str) -> None:
    """A worker whose calculation returns at once; run as a process of its own."""
    import workers.tasks
    from farm.serving import serve, worker_name

    def compute(job: Job, **_: Any) -> Result:
        with Path(starts).open("a", encoding="utf-8") as log:
            log.write(f"{job.predicted_cpu_s} {time.time()}\n")
        return Result(
            crystal=job.crystal,
            protocol=job.protocol,
            protocol_hash=job.protocol_hash,
            engine=job.engine,
            outcome=Outcome.METAL,
            reason="nothing was computed",
            stages=(StageUsage(stage=Stage.BANDS, cpu_s=0.0, wall_s=0.0, peak_memory_mb=1.0),),
        )

    workers.tasks.compute = compute
    app, backlog = make_app(url), Backlog(connect(url))
    name = worker_name("worker")
    slot = workers.tasks.Slot(owner=name, scratch=Path(), pseudo_dir=Path(), lease_s=20.0)
    workers.tasks.register(app, backlog, slot)

    @app.task(name=PLAIN)
    def plain() -> None: ...

    serve(
        app,
        backlog,
        name=name,
        queues=[cpu_queue(QUEUE), "plain"],
        slots=int(slots),
        state={"queues": [QUEUE]},
    )


@contextmanager
def roles(settings: Settings, url: str, starts: Path, slots: int) -> Iterator[dict[str, psutil.Process]]:
    """Scheduler, writer and worker; stopped in the end."""
    environment = os.environ | {
        "FARM_REDIS_URL": url,
        "FARM_HOME": str(settings.home),
        "OMP_NUM_THREADS": "1",
    }
    farm = [sys.executable, "-m", "farm.cli.main"]
    commands = {
        "scheduler": [*farm, "scheduler"],
        "writer": [*farm, "writer"],
        "worker": [sys.executable, __file__, "serve", url, str(slots), str(starts)],
    }
    log = (settings.home / "roles.log").open("wb")
    running = {
        name: subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        for name, command in commands.items()
    }
    try:
        yield {name: psutil.Process(process.pid) for name, process in running.items()}
    finally:
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        for process in running.values():
            process.wait()


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and its living children."""
    times = [p.cpu_times() for p in (process, *process.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def wait_for(condition: Callable[[], bool], timeout_s: float = 600.0) -> None:
    """Look often; a farm that hangs ends the benchmark."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the farm does not go on")
        time.sleep(0.02)


def measure_dispatch(settings: Settings, url: str, n_jobs: int, slots: int) -> None:
    """From the backlog to the store."""
    backlog, client = Backlog(connect(url)), connect(url)
    app = make_app(url)
    starts = settings.home / "starts"
    server = psutil.Process(int(client.info("server")["process_id"]))
    with roles(settings, url, starts, slots) as processes:
        wait_for(lambda: len(backlog.roster.workers()) == 2)
        time.sleep(1.0)
        plain_s = _run_plain(app, client, n_jobs)
        backlog.set_paused(True)
        backlog.enqueue(make_jobs(n_jobs))
        before = {name: cpu_s(process) for name, process in processes.items()} | {"redis": cpu_s(server)}
        start = time.monotonic()
        backlog.set_paused(False)
        wait_for(lambda: backlog.counts()[JobState.METAL] == n_jobs)
        wall_s = time.monotonic() - start
        used = {name: cpu_s(process) - before[name] for name, process in processes.items()}
        used["redis"] = cpu_s(server) - before["redis"]
    print(f"{n_jobs} jobs that cost nothing, {slots} slots")
    plain = f"plain Celery {n_jobs / plain_s:.0f}/s, ratio {plain_s / wall_s:.2f}"
    print_row("backlog to store", f"{n_jobs / wall_s:.0f} jobs/s", plain)
    parts = ", ".join(f"{name} {1e3 * seconds / n_jobs:.2f}" for name, seconds in used.items())
    print_row("CPU a job", f"{1e3 * sum(used.values()) / n_jobs:.2f} ms", parts)
    costs = [float(line.split()[0]) for line in starts.read_text(encoding="utf-8").splitlines()]
    ranks = np.argsort(np.argsort(costs))
    displaced = np.abs(ranks - np.arange(len(costs)))
    rank = spearmanr(ranks, np.arange(len(costs))).statistic
    print_row(
        "order", f"{rank:.6f}", f"Spearman; displaced by {displaced.max()} at most, {len(costs)} starts"
    )


def _run_plain(app: Any, client: redis.Redis, n_jobs: int) -> float:
    start = time.monotonic()
    with app.producer_pool.acquire() as producer:
        for _ in range(n_jobs):
            app.send_task(PLAIN, queue="plain", producer=producer)
    wait_for(lambda: client.llen("farm:plain") == 0 and client.hlen("farm:unacked") == 0)
    return time.monotonic() - start


def measure_backlog(settings: Settings, url: str, number: int) -> None:
    """What a long backlog costs."""
    client = connect(url)
    backlog = Backlog(client)
    memory = client.info("memory")["used_memory"]
    jobs = list(make_jobs(min(number, 20_000), seed=1))
    start, queued = time.monotonic(), 0
    while queued < number:
        # The same crystals under other names: what differs costs the same.
        renamed = (
            replace(job, crystal=replace(job.crystal, material_id=f"agm{queued}-{i}"))
            for i, job in enumerate(jobs)
        )
        queued += backlog.enqueue(renamed)
    seconds = time.monotonic() - start
    bytes_a_job = (client.info("memory")["used_memory"] - memory) / queued
    print(f"\n{queued} jobs in the backlog")
    print_row("queued", f"{queued / seconds:.0f} jobs/s")
    print_row("Redis memory", f"{bytes_a_job:.0f} bytes a job")
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for job in backlog.dispatch(1_000_000, 20.0, {QUEUE: backlog.counts()[JobState.DISPATCHED] + 1}):
            backlog.give_back(job.job_id, job.token, "")
        times.append(time.perf_counter() - start)
    print_row("dispatch and give back", f"{1e3 * statistics.median(times):.2f} ms")
    handed = backlog.dispatch(1000, 0.001, {QUEUE: 1000})
    time.sleep(0.01)
    start = time.perf_counter()
    reaped = backlog.reap(3, 20.0, [])
    print_row(f"reap {len(reaped)} of {len(handed)}", f"{1e3 * (time.perf_counter() - start):.1f} ms")
    start = time.perf_counter()
    n_found = sum(1 for _ in backlog.select(["MgOCaX"]))
    print_row("search by formula", f"{time.perf_counter() - start:.2f} s", f"{n_found} found")
    measure_commands(settings, url, f"agm{queued - len(jobs)}-7")


def measure_commands(settings: Settings, url: str, material: str) -> None:
    """What users wait for, start of Python included."""
    environment = os.environ | {"FARM_REDIS_URL": url, "FARM_HOME": str(settings.home)}
    for words in (
        ["status", "--json"],
        ["jobs", "--limit", "20", "--json"],
        ["prioritise", material, "--json"],
    ):
        command, times = [sys.executable, "-m", "farm.cli.main", *words], []
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        json.loads(done.stdout)
        print_row(
            f"farm {words[0]}", f"{statistics.median(times):.2f} s", "start of Python included, median of 5"
        )


def print_row(name: str, value: str, rest: str = "") -> None:
    """One line of the table."""
    print(f"  {name:<24}{value:>16}   {rest}".rstrip(), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--slots", type=int, default=2)
    options = parser.parse_args()
    for is_wanted, measure in (
        (options.jobs, lambda *where: measure_dispatch(*where, options.jobs, options.slots)),
        (options.backlog, lambda *where: measure_backlog(*where, options.backlog)),
    ):
        with tempfile.TemporaryDirectory() as home:
            settings = load_settings({"home": home}, environment={})
            if is_wanted:
                with broker_url(settings) as url:
                    measure(settings, url)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve_nothing(*sys.argv[2:])
    else:
        main()
