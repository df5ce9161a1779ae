"""Thousands of short jobs while everything that can die is killed, frozen and brought back.

Real processes: two schedulers, the writer, workers with a pool child each, whose calculation is a program
that is ended after 20 to 200 ms, and a Redis of its own (append-only file, every second). As the jobs go
through, at random: kill -9 of a worker, its pool child, or both, of the writer, of a scheduler, of the one
that leads; SIGSTOP of a worker, the writer or the leader beyond its lease, then SIGCONT; kill -9 of Redis,
three seconds down. What dies is started again, as a supervisor does. The baseline is the list of jobs: each
once in the store, each committed once.

    python benchmarks/soak.py [--jobs 2000] [--kills 100] [--restarts 10] [--freezes 10] [--lease 4]

Exit code 1 when a job was lost, stored twice or committed twice, or a process was left over.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from soak_farm.server import SoakRedis
from soak_farm.worker import MAX_ATTEMPTS, PROGRAM_S

from farm.backlog import Backlog, unfinished
from farm.broker import connect
from farm.crystal import Crystal
from farm.errors import BrokerError
from farm.job import Job, JobState
from farm.protocol import PRESETS
from farm.store import open_store

KILLS = ("worker", "pool child", "worker and child", "writer", "scheduler", "leader")
# Workers die most often; there are most of them.
KILL_WEIGHTS = (3, 3, 3, 1, 1, 1)
FREEZES = ("worker", "writer", "leader")
REDIS_DOWN_S = 3.0
# A scheduler leads for ten seconds after its last word.
FREEZE_S = 12.0
STUCK_S = 120.0
# Jobs queued beyond what the next disturbance waits for.
_AHEAD = 20


def make_jobs(number: int) -> Iterator[Job]:
    """Rock salt of slightly different sizes; the cheapest first."""
    protocol = PRESETS["demo"]
    fields, protocol_hash = protocol.to_dict(), protocol.hash
    for i in range(number):
        a = 2.1 + 1e-5 * i
        crystal = Crystal(
            material_id=f"soak-{i:05d}",
            lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
            species=("Mg", "O"),
            frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
        )
        yield Job(crystal=crystal, protocol=fields, protocol_hash=protocol_hash, predicted_cpu_s=1.0 + i)


@dataclass
class Done:
    """What was done to the farm; moments in seconds of the monotonic clock."""

    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    broker_losses: int = 0
    interrupted: list[tuple[str, float]] = field(default_factory=list)
    restarts: int = 0


class Farm:
    """The processes, started again when they die."""

    def __init__(self, home: Path, url: str, lease_s: float, n_workers: int) -> None:
        farm = [sys.executable, "-m", "farm.cli.main"]
        worker = Path(__file__).parent / "soak_farm" / "worker.py"
        self._environment = os.environ | {
            "FARM_HOME": str(home),
            "FARM_REDIS_URL": url,
            "FARM_LEASE_S": str(lease_s),
            "FARM_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
            "OMP_NUM_THREADS": "1",
        }
        self._commands = {"writer": [*farm, "writer"]}
        self._commands |= {f"scheduler {i}": [*farm, "scheduler"] for i in (1, 2)}
        self._commands |= {
            f"worker {i}": [sys.executable, str(worker), url, str(lease_s), str(home)]
            for i in range(1, n_workers + 1)
        }
        self._log = (home / "roles.log").open("ab")
        self._running = {name: self._spawn(name) for name in self._commands}

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._commands[name], env=self._environment, stdout=self._log, stderr=self._log, process_group=0
        )

    def keep(self) -> int:
        """Start what died; how many that were."""
        dead = [name for name, process in self._running.items() if process.poll() is not None]
        for name in dead:
            self._running[name] = self._spawn(name)
        return len(dead)

    def pids(self, role: str) -> list[int]:
        """Of the living processes of a role."""
        return [p.pid for name, p in self._running.items() if name.startswith(role) and p.poll() is None]

    def stop(self) -> None:
        """In good order: the writer last."""
        for role in ("worker", "scheduler", "writer"):
            processes = [p for name, p in self._running.items() if name.startswith(role)]
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        self._log.close()


class Disturber:
    """Does one random thing at a time to a farm."""

    def __init__(self, farm: Farm, server: SoakRedis, backlog: Backlog, dice: random.Random) -> None:
        self._farm, self._server, self._backlog, self._dice = farm, server, backlog, dice
        self.done = Done()
        self._thaws: list[threading.Timer] = []

    def act(self, what: str) -> bool:
        """False when the one it needs is not there now."""
        if what == "broker":
            self._server.kill()
            time.sleep(REDIS_DOWN_S)
            self._server.start()
            self.done.broker_losses += 1
            return True
        kind, _, role = what.partition(":")
        return self._kill(role) if kind == "kill" else self._freeze(role)

    def finish(self) -> None:
        """Wake whoever sleeps."""
        for thaw in self._thaws:
            thaw.join()

    def _kill(self, role: str) -> bool:
        found = self._busy_worker() if role in KILLS[:3] else self._other(role)
        if found is None:
            return False
        pid, job_id = found
        victims = [pid]
        if role in ("pool child", "worker and child"):
            children = _children(pid)
            if not children:
                return False
            victims = children if role == "pool child" else [*children, pid]
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        if job_id:
            self.done.interrupted.append((job_id, time.monotonic()))
        self.done.kills[role] += 1
        return True

    def _freeze(self, role: str) -> bool:
        found = self._busy_worker() if role == "worker" else self._other(role)
        if found is None:
            return False
        pid, job_id = found
        group = [*_children(pid), pid]
        for each in group:
            _signal(each, signal.SIGSTOP)
        if job_id:
            self.done.interrupted.append((job_id, time.monotonic()))
        thaw = threading.Timer(FREEZE_S, lambda: [_signal(each, signal.SIGCONT) for each in group])
        thaw.start()
        self._thaws.append(thaw)
        self.done.freezes[role] += 1
        return True

    def _other(self, role: str) -> tuple[int, str] | None:
        pids = self._farm.pids("writer" if role == "writer" else "scheduler")
        if role != "writer":
            leader = int((self._backlog.roster.leader() or ":0").rpartition(":")[2])
            pids = [pid for pid in pids if (pid == leader) is (role == "leader")]
        return (self._dice.choice(pids), "") if pids else None

    def _busy_worker(self) -> tuple[int, str] | None:
        alive = self._farm.pids("worker")
        running = [view for view in self._backlog.leased() if view.state is JobState.RUNNING]
        busy = [(int(view.owner.rpartition(".")[2]), view.job_id) for view in running if "." in view.owner]
        busy = [(pid, job_id) for pid, job_id in busy if pid in alive]
        return self._dice.choice(busy) if busy else None


def _children(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def left_over(home: Path) -> list[str]:
    """Living processes of this run: programs of a job, or whatever else names its directory."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = process.info["cmdline"] or []
        ours = f"{PROGRAM_S}.{home.name}" in words or str(home) in words
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{process.info['pid']} {' '.join(words)[:60]}")
    return found


def plan_of(options: argparse.Namespace, dice: random.Random) -> list[tuple[float, str]]:
    """What is done at which share of the jobs, in order."""
    kills = [f"kill:{role}" for role in dice.choices(KILLS, KILL_WEIGHTS, k=options.kills)]
    freezes = [f"freeze:{FREEZES[i % len(FREEZES)]}" for i in range(options.freezes)]
    events = [*kills, *freezes, *["broker"] * options.restarts]
    dice.shuffle(events)
    return sorted((dice.uniform(0.01, 0.97), event) for event in events)


def soak(
    plan: list[tuple[float, str]], jobs: list[Job], backlog: Backlog, farm: Farm, disturber: Disturber
) -> None:
    """Until every job is finished and everything planned was done, or nothing goes on any more.

    Jobs are queued as the plan is worked off, so that it is not overtaken.
    """
    moved_at, last, n_queued, ahead = time.monotonic(), -1, 0, _AHEAD
    while True:
        disturber.done.restarts += farm.keep()
        time.sleep(0.05)
        try:
            wanted = min(len(jobs), int(plan[0][0] * len(jobs)) + ahead) if plan else len(jobs)
            if wanted > n_queued:
                backlog.enqueue(jobs[:wanted])  # those that are known are left out
                n_queued = wanted
            n_finished = n_queued - unfinished(backlog.counts())
            if n_finished != last:
                last, moved_at = n_finished, time.monotonic()
            if n_finished == len(jobs):
                return
            if plan and n_finished >= plan[0][0] * len(jobs):
                if disturber.act(plan[0][1]):
                    plan.pop(0)
                    ahead = _AHEAD
                elif n_finished == n_queued:
                    ahead += _AHEAD  # it needs somebody at work
        except BrokerError:
            continue
        if time.monotonic() - moved_at > STUCK_S:
            print(f"nothing went on for {STUCK_S:.0f} s", flush=True)
            return


def away_s(events: list[list[str]], interrupted: list[tuple[str, float]]) -> list[float]:
    """Seconds from each kill or freeze of a worker to the next start of its job, if there was one."""
    starts: dict[str, list[float]] = {}
    for what, job_id, moment, _ in events:
        if what == "started":
            starts.setdefault(job_id, []).append(float(moment))
    nexts = [[t - moment for t in starts.get(job_id, []) if t > moment] for job_id, moment in interrupted]
    return [min(later) for later in nexts if later]


def report(home: Path, ids: list[str], done: Done, wall_s: float, orphans: list[str]) -> bool:
    """Print the table; whether all is well."""
    with open_store(home / "spectra.h5") as store:
        rows = Counter(row.material_id for row in store.rows(superseded=True))
    events = [line.split() for line in (home / "events").read_text("utf-8").splitlines()]
    committed = Counter(job_id for what, job_id, *_ in events if what == "committed")
    lost = [i for i in ids if i.partition(".")[0] not in rows]
    stored_twice = [m for m, n in rows.items() if n > 1]
    committed_twice = [i for i, n in committed.items() if n > 1]
    away = away_s(events, done.interrupted)
    table = {
        "jobs": len(ids),
        "kills -9": _by_role(done.kills),
        "freezes": _by_role(done.freezes),
        "broker lost": done.broker_losses,
        "processes started again": done.restarts,
        "in the store": sum(1 for i in ids if i.partition(".")[0] in rows),
        "lost": len(lost),
        "stored twice": len(stored_twice),
        "committed twice": len(committed_twice),
        "starts": sum(what == "started" for what, *_ in events),
        "late commits refused": sum(what == "refused" for what, *_ in events),
        "processes left over": len(orphans),
        "running again elsewhere": _times(away),
        "wall s": f"{wall_s:.0f}",
    }
    for name, value in table.items():
        print(f"{name:<24} {value}")
    for name in [*lost, *stored_twice, *committed_twice, *orphans][:20]:
        print(f"  {name}")
    return not (lost or stored_twice or committed_twice or orphans)


def _by_role(counts: Counter[str]) -> str:
    return f"{sum(counts.values())}: " + ", ".join(f"{role} {n}" for role, n in sorted(counts.items()))


def _times(seconds: list[float]) -> str:
    if not seconds:
        return "not measured"
    return f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s, of {len(seconds)}"


def main() -> int:
    """Run and print."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    for name, number in (("jobs", 2000), ("kills", 100), ("restarts", 10), ("freezes", 10), ("workers", 4)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--lease", type=float, default=4.0, help="seconds; a farm's own default is 20")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)  # noqa: S311 - who is killed when
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        home = Path(directory)
        server = SoakRedis(home / "redis")
        backlog = Backlog(connect(server.url))
        jobs = list(make_jobs(options.jobs))
        started = time.monotonic()
        farm = Farm(home, server.url, options.lease, options.workers)
        disturber = Disturber(farm, server, backlog, dice)
        try:
            soak(plan_of(options, dice), jobs, backlog, farm, disturber)
            wall_s = time.monotonic() - started
        finally:
            disturber.finish()
            time.sleep(1.0)
            programs = [line for line in left_over(home) if str(PROGRAM_S) in line]
            farm.stop()
            server.kill()
        well = report(
            home, [job.job_id for job in jobs], disturber.done, wall_s, [*programs, *left_over(home)]
        )
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
