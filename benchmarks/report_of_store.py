"""How long `farm report` takes on a large store.

Claim: 100,000 results, each with its stages, six steps and sometimes corrections, are summed up in a few
seconds from the start of the command. The baseline is `farm report` of one result: what starting costs.

    python benchmarks/report_of_store.py [--rows 20000] [--directory DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from farm.crystal import Crystal
from farm.job import Engine, Outcome, Stage
from farm.protocol import PRESETS
from farm.result import Correction, Result, StageUsage, StepUsage
from farm.store import StoreWriter

STEPS = (
    *((f"scf-{cutoff_ry}Ry-4x4x4", Stage.GROUND_STATE) for cutoff_ry in (60, 65, 70, 75)),
    ("potential", Stage.BANDS),
    ("spectra", Stage.RESPONSE),
)
# Shares of results.
FAILED, CORRECTED = 0.05, 0.15


def make_results(n_rows: int) -> Iterator[Result]:
    """Results without spectra, which no report reads; costs by chance."""
    protocol = PRESETS["paper"]
    rng = np.random.default_rng(0)
    for number in range(n_rows):
        costs = rng.lognormal(2.0, 1.0, size=(len(STEPS), 3)).tolist()
        is_failed, is_corrected = rng.random() < FAILED, rng.random() < CORRECTED
        steps = tuple(
            StepUsage(
                name=name,
                stage=stage,
                outcome="ok",
                attempts=1,
                cpu_s=cpu_s,
                wall_s=1.1 * cpu_s,
                peak_memory_mb=80 + memory_mb,
                disk_mb=disk_mb,
            )
            for (name, stage), (cpu_s, memory_mb, disk_mb) in zip(STEPS, costs, strict=True)
        )
        stages = tuple(
            StageUsage(
                stage=stage,
                cpu_s=sum(step.cpu_s for step in steps if step.stage is stage),
                wall_s=sum(step.wall_s for step in steps if step.stage is stage),
                peak_memory_mb=max(step.peak_memory_mb for step in steps if step.stage is stage),
            )
            for stage in Stage
        )
        correction = Correction(
            step=STEPS[0][0],
            diagnosis="scf_unconverged",
            evidence="pw-1.out:120: convergence NOT achieved after 100 iterations: stopping",
            remedy="slower mixing from the last density",
            changes_physics=False,
            worked=not is_failed,
        )
        yield Result(
            crystal=Crystal(
                material_id=f"crystal-{number}",
                lattice_angstrom=((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
                species=("Mg", "O"),
                frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
            ),
            protocol=protocol.to_dict(),
            protocol_hash=protocol.hash,
            engine=Engine.NATIVE,
            outcome=Outcome.FAILED if is_failed else Outcome.DONE,
            reason="the density did not converge" if is_failed else "",
            diagnosis="scf_unconverged" if is_failed else "",
            stages=stages,
            steps=steps,
            corrections=(correction,) if is_corrected else (),
        )


def report_s(home: Path, n_rows: int) -> float:
    """Wall seconds of `farm report --json` on a new store of so many results."""
    with StoreWriter(home / "spectra.h5") as writer:
        writer.append_many(make_results(n_rows))
    command = [sys.executable, "-m", "farm.cli.main", "--home", str(home), "report", "--json"]
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    elapsed_s = time.perf_counter() - started
    counted = json.loads(done.stdout)["results"]
    if counted != n_rows:
        raise SystemExit(f"{counted} of {n_rows} results were counted")
    return elapsed_s


def main() -> None:
    """Print the seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--directory", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        start_s = report_s(Path(directory) / "one", 1)
        many_s = report_s(Path(directory) / "many", arguments.rows)
    print(f"{'results':>8} {'s':>7} {'results/s':>10} {'ratio':>6}")
    print(f"{1:>8} {start_s:>7.2f} {1 / start_s:>10.0f} {1:>6.1f}")
    print(f"{arguments.rows:>8} {many_s:>7.2f} {arguments.rows / many_s:>10.0f} {many_s / start_s:>6.1f}")


if __name__ == "__main__":
    main()
