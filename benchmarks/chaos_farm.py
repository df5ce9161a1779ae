"""Twenty crystals while pw.x is killed at random and the scratch disk fills up.

Runs the bundled crystals twice: undisturbed, then with SIGKILLs of random pw.x, pp.x and solver processes
and with a scratch disk (a small file system, needs root; otherwise that part is left out) that something
else fills for a while. Prints what was done to it, the outcomes of both runs, the worst 1-SC between their
spectra, processes that survived, and the table of remedies by `farm report`. The baseline is the
undisturbed run.

    python benchmarks/chaos_farm.py [--kills 40] [--home DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from farm.spectrum import similarity_coefficient
from farm.store import open_store

FARM = [sys.executable, "-m", "farm.cli.main"]
VICTIMS = ("pw.x", "pp.x", "python", "python3")
DISK_MB = 400
FULL_FOR_S = 8.0


def farm(home: Path, *words: str) -> str:
    """Run a command of the farm to its end; what it prints."""
    environment = os.environ | {"FARM_HOME": str(home)}
    done = subprocess.run([*FARM, *words], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"farm {' '.join(words)}: {done.stderr}")
    return done.stdout


def below(directory: Path) -> list[psutil.Process]:
    """Living processes that work somewhere below a directory."""
    found = []
    for process in psutil.process_iter(["name", "cwd", "status"]):
        inside = (process.info["cwd"] or "").startswith(str(directory))
        if inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """Mount a small file system; whether that was possible."""
    place.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}M", "tmpfs", str(place)]
    mounted = subprocess.run(argv, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def disturb(run: subprocess.Popen[bytes], scratch: Path, kills: int, *, fill: bool) -> dict[str, int]:
    """Kill and fill until the farm has ended; how often."""
    dice = random.Random(1)  # noqa: S311  # who is killed when
    done = {"killed": 0, "filled": 0}
    fill_at = time.monotonic() + 10.0 if fill else float("inf")
    while run.poll() is None:
        time.sleep(dice.uniform(0.5, 4.0))
        if time.monotonic() > fill_at:
            filler = scratch / "filler"
            with filler.open("wb") as file:
                try:
                    while file.write(b"\0" * 2**20):
                        pass
                except OSError:
                    done["filled"] += 1
            time.sleep(FULL_FOR_S)
            filler.unlink()
            fill_at = float("inf")
        victims = [process for process in below(scratch) if process.info["name"] in VICTIMS]
        if victims and done["killed"] < kills:
            victim = dice.choice(victims)
            try:
                victim.send_signal(signal.SIGKILL)
                done["killed"] += 1
            except psutil.NoSuchProcess:
                continue
    return done


def run_farm(home: Path, kills: int) -> tuple[dict[str, int], float, list[str]]:
    """Seed and compute everything; what was done to it, wall seconds, and who survived."""
    farm(home, "seed", "--protocol", "demo")
    scratch = home / "scratch"
    with small_disk(scratch) as mounted:
        started = time.monotonic()
        log = (home / "chaos.log").open("wb")
        argv = [*FARM, "up", "--until-idle", "--no-trainer"]
        run = subprocess.Popen(argv, env=os.environ | {"FARM_HOME": str(home)}, stdout=log, stderr=log)
        done = disturb(run, scratch, kills, fill=mounted and kills > 0)
        survivors = [f"{process.pid} {process.info['name']}" for process in below(scratch)]
    return done, time.monotonic() - started, survivors


def compared(home: Path, reference: Path) -> tuple[int, float]:
    """Materials with spectra in both stores, and the worst 1-SC of their RPA spectra."""
    worst, n_both = 0.0, 0
    with open_store(home / "spectra.h5") as ours, open_store(reference / "spectra.h5") as theirs:
        expected = {row.material_id: theirs.result(row.index) for row in theirs.rows()}
        for row in ours.rows():
            result, other = ours.result(row.index), expected.get(row.material_id)
            if result.rpa is None or other is None or other.rpa is None:
                continue
            n_both += 1
            for new, old in zip(result.rpa.eps, other.rpa.eps, strict=True):
                worst = max(worst, 1 - similarity_coefficient(new.imag, old.imag, result.energies_ev))
    return n_both, worst


def main() -> int:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="farm-chaos-"))
    stores = {}
    for name, kills in (("undisturbed", 0), ("disturbed", options.kills)):
        place = home / name
        done, wall_s, survivors = run_farm(place, kills)
        outcomes = json.loads(farm(place, "report", "--json"))["outcomes"]
        stores[name] = place
        ended = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items() if n)
        print(f"{name}: {done['killed']} killed, disk filled {done['filled']} times, {wall_s:.0f} s")
        print(f"  outcomes: {ended}; survivors: {', '.join(survivors) or 'none'}", flush=True)
    n_both, worst = compared(stores["disturbed"], stores["undisturbed"])
    print(f"{n_both} materials with spectra in both, worst 1-SC {worst:.1e}")
    print(farm(stores["disturbed"], "report"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
