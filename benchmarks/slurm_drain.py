"""Workers in real Slurm jobs that end in every way there is, until all bundled crystals are done.

Starts Redis, scheduler and writer, submits deploy/slurm/farm-workers.sbatch as an array of two with minutes
of walltime, and ends its jobs in turn: scancel --signal=TERM to the worker, scancel, scontrol requeue,
kill -9 of slurmstepd, and the end of the walltime; with a grace in which jobs end, and with one that is too
short for most. Prints for each how long the worker took to leave, what became of the jobs it ran and
which processes it left; and what is in the store at the end. The nodes of the cluster have to be this
machine (two slurmd with names of their own will do). Without Slurm it says so in one line.

    python benchmarks/slurm_drain.py [--home DIR] [--cores 1] [--minutes 2] [--protocol paper]
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from farm.backlog import Backlog, unfinished
from farm.broker import broker_url, connect
from farm.job import JobState
from farm.settings import load_settings
from farm.store import open_store

SCRIPTS = Path(__file__).resolve().parents[1] / "deploy" / "slurm"
FARM = [sys.executable, "-m", "farm.cli.main"]
GRACES_S = (15, 1)
PATIENCE_S = 120.0
MOST_ARRAYS = 20
# What is left at last may not fit into a shorter one.
LONG_ENOUGH_MIN = 10
# The walltime comes last: it needs the most jobs.
WAYS = (
    "scancel --signal=TERM --batch",
    "scancel",
    "scontrol requeue",
    "kill -9 slurmstepd",
    "end of the walltime",
)
HEAD = ("", "grace s", "jobs ran", "s to leave", "ended", "handed over", "counted", "processes left")
ROW = "{:<30} {:>7} {:>8} {:>10} {:>6} {:>11} {:>7} {:>14}"


@dataclass(frozen=True)
class Worker:
    """A worker in a Slurm job: its process, the log of its job, and what it has started."""

    job: str
    process: psutil.Process
    log: Path


def say(*argv: str) -> str:
    """What a command prints."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def head(home: Path, url: str) -> Iterator[None]:
    """Scheduler and writer."""
    environment = os.environ | {"FARM_HOME": str(home), "FARM_REDIS_URL": url}
    with (home / "head.log").open("wb") as log:
        roles = [
            subprocess.Popen([*FARM, role], env=environment, stdout=log, stderr=log)
            for role in ("scheduler", "writer")
        ]
    try:
        yield
    finally:
        for role in roles:
            role.send_signal(signal.SIGTERM)
            role.wait(timeout=30)


class Array:
    """Array jobs of workers, one after the other, each with a grace of its own."""

    def __init__(self, home: Path, url: str, cores: int) -> None:
        self._home, self._cores = home, cores
        self._job = ""
        self.n_submitted = 0
        for grace_s in GRACES_S:
            secrets = home / f"grace-{grace_s}.env"
            secrets.touch(mode=0o600)
            path = f"{Path(sys.executable).parent}:$PATH"
            lines = {"FARM_REDIS_URL": url, "FARM_HOME": str(home), "PATH": path}
            lines |= {"FARM_GRACE_S": str(grace_s), "FARM_UNTIL_IDLE_S": "20"}
            lines |= {"FARM_SCRATCH_DIR": str(home / "scratch")}
            secrets.write_text("".join(f"export {key}={value}\n" for key, value in lines.items()), "utf-8")

    def submit(self, grace_s: int, minutes: int) -> None:
        """Cancel what there is and start anew."""
        self.cancel()
        self._job = say(
            *("sbatch", "--parsable", "--array=1-2", f"--time={minutes}", f"--cpus-per-task={self._cores}"),
            # A warning two minutes before the end would come at once.
            *("--signal=B:USR2@0", "--mem-per-cpu=1000"),
            *(f"--chdir={SCRIPTS}", f"--output={self._home}/%x-%A_%a.log"),
            *(str(SCRIPTS / "farm-workers.sbatch"), str(self._home / f"grace-{grace_s}.env")),
        )
        self.n_submitted += 1

    def cancel(self) -> None:
        """End all jobs of the array, and wait for it."""
        if self._job:
            subprocess.run(["scancel", self._job], check=False)
            while self.is_there():
                time.sleep(0.5)

    def is_there(self) -> bool:
        """Whether Slurm has jobs of the array, waiting or running."""
        states = subprocess.run(
            ["squeue", "--noheader", f"--job={self._job}", "--format=%T"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return bool(states.stdout.strip())

    def workers(self) -> list[Worker]:
        """The workers that run."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "worker" in words and "--slots" in words:
                try:
                    told = process.environ()
                    parent = process.parent()
                except psutil.Error:
                    continue
                if told.get("SLURM_ARRAY_JOB_ID") != self._job:
                    continue
                if parent is not None and parent.name() == process.name():
                    continue  # a pool process
                element = f"{self._job}_{told['SLURM_ARRAY_TASK_ID']}"
                found.append(Worker(element, process, self._home / f"farm-workers-{element}.log"))
        return found


def end_by(way: str, worker: Worker) -> None:
    """End a worker's job from outside."""
    if way == "scancel --signal=TERM --batch":
        say("scancel", "--signal=TERM", "--batch", worker.job)
    elif way == "scancel":
        say("scancel", worker.job)
    elif way == "scontrol requeue":
        say("scontrol", "requeue", worker.job)
    elif way == "kill -9 slurmstepd":
        stepd = next(p for p in worker.process.parents() if p.name().startswith("slurmstepd"))
        stepd.kill()


def watch_end(way: str, worker: Worker, backlog: Backlog) -> list[str]:
    """End a worker; of a row of the table what follows the case."""
    me = f".{worker.process.pid}"
    n_ran = sum(v.state is JobState.RUNNING and v.owner.endswith(me) for v in backlog.leased())
    family = worker.process.children(recursive=True)
    seen = worker.log.stat().st_size
    limit = say("squeue", "--noheader", f"--job={worker.job}", "--format=%e")
    before = counted(backlog)
    began_s = time.time()
    end_by(way, worker)
    while is_alive(worker.process):
        with suppress(psutil.NoSuchProcess):
            family += [each for each in worker.process.children(recursive=True) if each not in family]
        if way != WAYS[-1] and time.time() - began_s > PATIENCE_S:
            raise SystemExit(f"{way}: the worker is still there after {PATIENCE_S:.0f} s")
        time.sleep(0.05)
    took_s = time.time() - began_s
    time.sleep(0.5)  # what dies with its parent
    left = [each for each in family if is_alive(each)]
    with worker.log.open("rb") as log:
        log.seek(seen)
        words = log.read().decode(errors="replace")
    n_ended, n_over = words.count(" CPU s "), words.count(": handed over")
    n_counted = (counted(backlog) - before).total()
    before_s = datetime.fromisoformat(limit).timestamp() - (began_s + took_s)
    took = f"{took_s:.1f}" if way != WAYS[-1] else f"{before_s:.0f} before"
    return [str(n_ran), took, str(n_ended), str(n_over), str(n_counted), str(len(left))]


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is there, and no zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def counted(backlog: Backlog) -> Counter[str]:
    """How often jobs came back, by what is counted."""
    return sum((Counter(view.causes) for view in backlog.jobs()), Counter())


def wait_for_work(array: Array, backlog: Backlog) -> Worker | None:
    """A worker that computes; None when nothing is left to do, or nobody does it."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s and unfinished(backlog.counts()):
        busy = {
            view.owner.rpartition(".")[2] for view in backlog.leased() if view.state is JobState.RUNNING
        }
        for worker in array.workers():
            if str(worker.process.pid) in busy:
                return worker
        if not array.is_there():
            return None
        time.sleep(0.1)
    return None


def run(array: Array, backlog: Backlog, minutes: int) -> None:
    """End workers in all ways, then let the rest be done."""
    print(ROW.format(*HEAD))
    for way, grace_s in itertools.product(WAYS, GRACES_S):
        array.submit(grace_s, minutes)
        worker = wait_for_work(array, backlog)
        if worker is None:
            print(ROW.format(way, grace_s, "nothing left to do", *[""] * 5))
            continue
        print(ROW.format(way, grace_s, *watch_end(way, worker, backlog)), flush=True)
    while unfinished(backlog.counts()):
        if not array.is_there():
            if array.n_submitted > MOST_ARRAYS:
                raise SystemExit("workers end at once: their logs say why")
            array.submit(GRACES_S[0], LONG_ENOUGH_MIN)
        time.sleep(1.0)
    array.cancel()


def main() -> None:
    """Run the farm, and print the table and what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, help="directory of the farm (default: a temporary one)")
    parser.add_argument("--cores", type=int, default=1, help="of a worker, and its slots")
    parser.add_argument("--minutes", type=int, default=2, help="walltime")
    parser.add_argument(
        "--protocol", default="paper", help="demo: jobs that are over before they are ended"
    )
    asked = parser.parse_args()
    if (
        shutil.which("sbatch") is None
        or subprocess.run(["sinfo"], capture_output=True, check=False).returncode
    ):
        print("no Slurm here: left out")
        return
    home = asked.home or Path(tempfile.mkdtemp(prefix="farm-slurm-"))
    home.mkdir(parents=True, exist_ok=True)
    settings = load_settings({"home": home}, {})
    began_s = time.monotonic()
    with broker_url(settings) as url:
        environment = os.environ | {"FARM_HOME": str(home), "FARM_REDIS_URL": url}
        subprocess.run([*FARM, "seed", "--protocol", asked.protocol], env=environment, check=True)
        backlog = Backlog(connect(url), name=settings.name)
        array = Array(home, url, asked.cores)
        with head(home, url):
            run(array, backlog, asked.minutes)
        jobs = {state.value: n for state, n in backlog.counts().items() if n}
        causes = dict(counted(backlog))
    with open_store(settings.store_path) as store:
        rows = Counter(row.material_id for row in store.rows(superseded=True))
    over = sum(log.read_text(errors="replace").count(": handed over") for log in home.glob("*.log"))
    unbegun = sum(log.read_text(errors="replace").count(": not begun") for log in home.glob("*.log"))
    print(f"jobs: {jobs}; in the store {len(rows)} materials, {rows.total() - len(rows)} twice")
    print(f"handed over {over}, not begun {unbegun} for want of time, counted: {causes or 'none'}")
    print(f"{array.n_submitted} arrays of two workers, {time.monotonic() - began_s:.0f} s; {home}")


if __name__ == "__main__":
    main()
