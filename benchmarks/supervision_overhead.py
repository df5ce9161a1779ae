"""CPU that custodian and our supervision add to one run of pw.x.

Baseline: the same program, input and directory, started by hand and waited for; medians of N runs. The cost
is user + system CPU of the supervising process alone; the program's own is shown beside it.

    python benchmarks/supervision_overhead.py [--runs 15]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from farm.pseudopotentials import entry, pseudopotential_directory
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.supervise import run_pw

A = 1.7835


def diamond(ecutwfc_ry: float, divisions: int) -> PwInput:
    """An scf of diamond."""
    return PwInput(
        calculation="scf",
        lattice_angstrom=((0.0, A, A), (A, 0.0, A), (A, A, 0.0)),
        species=("C", "C"),
        frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
        pseudo_files={"C": entry("C").file},
        masses_amu={"C": 12.011},
        pseudo_dir="../pseudo/",
        ecutwfc_ry=ecutwfc_ry,
        ecutrho_ry=4 * ecutwfc_ry,
        kgrid=(divisions, divisions, divisions),
        use_symmetry=False,
    )


def own_cpu_s() -> float:
    """User + system CPU seconds of this process, children not counted."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(run: Callable[[Path], float]) -> tuple[float, float, float]:
    """CPU s of this process, CPU s of the program, wall s."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pseudo").symlink_to(pseudopotential_directory())
        (directory / "run").mkdir()
        before, started = own_cpu_s(), time.monotonic()
        program_cpu_s = run(directory / "run")
        return own_cpu_s() - before, program_cpu_s, time.monotonic() - started


def by_hand(pw_input: PwInput) -> Callable[[Path], float]:
    """Start pw.x and wait for it."""

    def run(directory: Path) -> float:
        (directory / "pw.in").write_text(pw_input.text())
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with (directory / "pw.out").open("wb") as out:
            subprocess.run(["pw.x", "-inp", "pw.in"], cwd=directory, stdout=out, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return run


def supervised(pw_input: PwInput) -> Callable[[Path], float]:
    """The same by custodian with every handler, monitor and validator."""

    def run(directory: Path) -> float:
        session = PwSession("scf", pw_input, directory, n_electrons=8)
        run_pw(session)
        return session.usage.cpu_s

    return run


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    print(f"{'run':12} {'pw.x CPU s':>10} {'wall s':>7} {'by hand':>9} {'supervised':>11} {'added s':>9}")
    for name, pw_input, n in (
        ("short", diamond(20, 2), runs),
        ("seconds", diamond(60, 5), max(3, runs // 3)),
        ("half minute", diamond(60, 10), 1),
    ):
        hand = [measured(by_hand(pw_input)) for _ in range(n)]
        ours = [measured(supervised(pw_input)) for _ in range(n)]
        plain, added = (statistics.median(row[0] for row in rows) for rows in (hand, ours))
        program, wall = (statistics.median(row[i] for row in ours) for i in (1, 2))
        print(f"{name:12} {program:10.2f} {wall:7.2f} {plain:9.4f} {added:11.4f} {added - plain:9.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
