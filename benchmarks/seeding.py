"""`farm seed` of a hundred thousand structures: how fast, and in how much memory.

    OMP_NUM_THREADS=1 python benchmarks/seeding.py ALEXANDRIA.json.bz2... [--structures 10000 100000]
        [--processes 2] [--baseline DIR --baseline-structures 2000 10000]

The files hold real entries as Alexandria publishes them. From them as many as are asked for are made, by
isotropic strains that are small and each another (crystals keep their symmetry, and with it what parsing
costs), and written to a temporary .json.bz2 file. Printed are:

- CPU seconds of each step, on one core: cutting files into entries, parsing, predicting costs, queueing
- whole commands into an empty Redis: time, CPU seconds, peak resident memory of the command's first process
  and of all of them (sampled every 50 ms; pages that processes share count for each), bytes of Redis per
  waiting job (``used_memory`` of INFO)
- the same of an older version, where a checkout of it is named
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.crystal import Crystal
from farm.job import Job
from farm.processes import BATCH
from farm.protocol import PRESETS
from farm.seeding import Queueing, Terms
from farm.seeding.appraisal import appraise
from farm.settings import load_settings
from farm.sources import Filters, cut_source, parse

_STRAIN = 1e-4
_SAMPLES_EVERY_S = 0.05
_STEPS_OF = 3000


@dataclass(frozen=True)
class Run:
    """One whole command; sizes in MB, ``redis_bytes`` per job."""

    n_queued: int
    wall_s: float
    cpu_s: float
    first_mb: float
    all_mb: float
    redis_bytes: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--structures", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[2])
    parser.add_argument("--baseline", type=Path, help="checkout of an older version")
    parser.add_argument("--baseline-structures", type=int, nargs="+", default=[2_000, 10_000])
    options = parser.parse_args()
    texts = (bz2.decompress(file.read_bytes()) for file in options.files)
    originals = [entry for text in texts for entry in json.loads(text)["entries"]]
    print(f"{len(originals)} entries; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sizes = {*options.structures, _STEPS_OF, *(options.baseline_structures if options.baseline else ())}
        sources = {n: written(directory / f"{n}.json.bz2", originals, n) for n in sorted(sizes)}
        print_steps(sources[_STEPS_OF])
        columns = "version | structures | processes | queued | wall s | CPU s | /s | / CPU s"
        print(f"\n| {columns} | first, MB | all, MB | Redis, B a job |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for n in options.structures:
            for processes in options.processes:
                print_row("this", n, processes, seeded(sources[n], "--processes", str(processes)))
        for n in options.baseline_structures if options.baseline else ():
            print_row("baseline", n, 1, seeded(sources[n], path=options.baseline))


def strained(originals: list[dict[str, Any]], n: int) -> Iterator[dict[str, Any]]:
    """``n`` entries: all originals, then all with a strain, then all with twice the strain..."""
    for number in range(n):
        copy, which = divmod(number, len(originals))
        entry = originals[which]
        lattice = entry["structure"]["lattice"]
        matrix = [[x * (1 + _STRAIN * copy) for x in row] for row in lattice["matrix"]]
        kept = ("species", "abc", "label")
        sites = [{key: site[key] for key in kept} for site in entry["structure"]["sites"]]
        structure = {**entry["structure"], "lattice": {"matrix": matrix}, "sites": sites}
        name = f"{entry['data']['mat_id']}-{copy}"
        yield {**entry, "entry_id": name, "data": {**entry["data"], "mat_id": name}, "structure": structure}


def written(path: Path, originals: list[dict[str, Any]], n: int) -> Path:
    """A file of ``n`` entries."""
    with bz2.open(path, "wt", compresslevel=1) as file:
        between = '{"entries": ['
        for entry in strained(originals, n):
            file.write(between + json.dumps(entry))
            between = ", "
        file.write("]}")
    return path


def print_steps(source: Path) -> None:
    """CPU seconds of each step in this process."""
    terms = Terms(filters=Filters(), protocol=PRESETS["paper"])
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.process_time()
        yield
        seconds[step] = time.process_time() - start

    list(cut_source(None))  # imports
    with timed("cut"):
        cut = list(cut_source(source))
    with timed("parse"):
        parsed = [parse(item) for item in cut]
    crystals = [item for item in parsed if isinstance(item, Crystal)]
    with timed("cost"):
        jobs = [job for job in appraise(crystals, terms) if isinstance(job, Job)]
    with empty_redis() as (url, _):
        client = connect(url)
        queueing, rows = Queueing(Backlog(client)), iter(jobs)
        with timed("queue"):
            while batch := list(islice(rows, BATCH)):
                queueing.queue(batch)
        if sum(Backlog(client).counts().values()) != len(jobs):
            raise SystemExit("not every job was queued")
        client.close()
    print(f"{len(cut)} structures, {len(jobs)} of them jobs\n")
    print("| step | CPU ms each | / CPU s |\n|---|---|---|")
    for step, spent_s in seconds.items():
        n = len(cut) if step in ("cut", "parse") else len(jobs)
        print(f"| {step} | {1e3 * spent_s / n:.3f} | {n / spent_s:,.0f} |")
    after_s = seconds["cost"] + seconds["queue"]
    print(f"| cost and queue | {1e3 * after_s / len(jobs):.3f} | {len(jobs) / after_s:,.0f} |")


@contextmanager
def empty_redis() -> Iterator[tuple[str, Path]]:
    """URL of a server of its own, and an empty directory for a farm."""
    with tempfile.TemporaryDirectory() as name:
        settings = load_settings({"home": Path(name)}, environment={})
        with broker_url(settings) as url:
            yield url, Path(name)


def seeded(source: Path, *flags: str, path: Path | None = None) -> Run:
    """One command, its output thrown away."""
    with empty_redis() as (url, home):
        client = connect(url)
        before = client.info("memory")["used_memory"]
        environment = {**os.environ, "FARM_REDIS_URL": url, "FARM_HOME": str(home), "OMP_NUM_THREADS": "1"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        command = [
            sys.executable,
            "-m",
            "farm.cli.main",
            "seed",
            str(source),
            "--protocol",
            "paper",
            *flags,
        ]
        start = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=path)
        memory = Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        memory.join()
        if status:
            raise SystemExit(f"farm seed ended with {os.waitstatus_to_exitcode(status)}")
        n_queued = int(client.hget("farm:counts", "ready"))
        redis_bytes = (client.info("memory")["used_memory"] - before) / n_queued
        client.close()
    cpu_s = usage.ru_utime + usage.ru_stime
    return Run(n_queued, wall_s, cpu_s, memory.first / 1e6, memory.all / 1e6, redis_bytes)


class Memory(threading.Thread):
    """Peak resident bytes of a process and its children, until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.first = 0
        self.all = 0

    def run(self) -> None:
        """Look every now and then."""
        try:
            while self._process.status() != psutil.STATUS_ZOMBIE:
                first = self._process.memory_info().rss
                others = sum(map(_resident, self._process.children()))
                self.first, self.all = max(self.first, first), max(self.all, first + others)
                time.sleep(_SAMPLES_EVERY_S)
        except psutil.NoSuchProcess:
            return


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def print_row(version: str, n: int, processes: int, run: Run) -> None:
    """One line of the table."""
    print(
        f"| {version} | {n:,} | {processes} | {run.n_queued:,} | {run.wall_s:.1f} | {run.cpu_s:.1f} "
        f"| {n / run.wall_s:,.0f} | {n / run.cpu_s:,.0f} | {run.first_mb:.0f} | {run.all_mb:.0f} "
        f"| {run.redis_bytes:,.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
