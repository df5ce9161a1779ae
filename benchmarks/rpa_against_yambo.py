"""The project's RPA solver against YAMBO on reference runs: spectra, G vectors, CPU seconds.

    python benchmarks/rpa_against_yambo.py REFERENCE_DIR --pseudo-dir UPF_DIR [--work DIR] [NAME...]

REFERENCE_DIR holds one directory a crystal with ``scf.in``, ``nscf.in``, the YAMBO spectra
``o-*.eps_q1_inv_rpa_dyson`` and ``timings.json``. pw.x is rerun there (kept between calls); the solver
runs once a crystal for all steps and directions, as `farm response`, in a process with one thread.
YAMBO's CPU seconds are p2y + setup + all its runs. Prints a table and the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from farm.spectrum import similarity_coefficient

# 4x4x4 and coarser: YAMBO merges distinct k-points there, so that its spectra are no reference.
MERGED_KPOINTS = ("LiF", "Si", "Si_k2")
GMAX_MRY = (0, 2000, 4000, 6000, 8000)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def wavefunctions(reference: Path, work: Path, pseudo_dir: Path) -> Path:
    """Run scf and nscf of a reference in ``work`` unless done; returns the save directory."""
    done = work / "done"
    if not done.is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "pseudo").symlink_to(pseudo_dir.resolve())
        for step in ("scf", "nscf"):
            deck = (reference / f"{step}.in").read_text()
            if step == "nscf" and "nosym" not in deck:
                # Without it pw.x expands the list where the crystal has fewer operations than its lattice.
                deck = re.sub(r"(?i)&system", "&SYSTEM\n  nosym = .true., noinv = .true.,", deck, count=1)
            (work / f"{step}.in").write_text(deck)
            with (work / f"{step}.out").open("w") as log:
                subprocess.run(
                    ["pw.x", "-inp", f"{step}.in"], cwd=work, env=ONE_THREAD, stdout=log, check=True
                )
        done.touch()
    return next((work / "out").glob("*.save"))


def solve(save_dir: Path, out: Path) -> dict[str, np.ndarray]:
    """One `farm response` in its own process, so that its CPU time is the whole of it."""
    command = [sys.executable, "-c", "from workers.cli.response import response; response()"]
    steps = [part for gmax in GMAX_MRY for part in ("--gmax-mry", str(gmax))]
    subprocess.run(
        [*command, str(save_dir), *steps, "--out", str(out)],
        env=ONE_THREAD,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with np.load(out) as arrays:
        return dict(arrays)


def compare(name: str, reference: Path, ours: dict[str, np.ndarray]) -> list[tuple[float, float, float]]:
    """Print one line a YAMBO spectrum; returns (1 - SC, ours s, YAMBO s) of each."""
    steps = json.loads((reference / "timings.json").read_text())["steps"]
    yambo_s = sum(s["cpu_s"] for s in steps if s["step"].startswith(("p2y", "yambo")))
    ours_s = float(ours["cpu_seconds"])
    rows = []
    for path in sorted(reference.rglob("o-*.eps_q1_inv_rpa_dyson")):
        match = re.search(r"dir_([01]+)_sc_(\d+)\.", path.name)
        n_g = re.search(r"Hartree size\s*:\s*(\d+)", path.read_text())
        if match is None or n_g is None or int(match[2]) not in GMAX_MRY:
            continue
        direction, step = match[1].index("1"), GMAX_MRY.index(int(match[2]))
        energies, imag = np.loadtxt(path)[:, :2].T
        error = 1 - similarity_coefficient(ours["eps_imag"][step, direction], imag, energies)
        counts = f"{ours['n_g'][step]}/{n_g[1]}"
        print(
            f"{name:8} {'xyz'[direction]:>3} {match[2]:>6} {counts:>9} {error:10.1e} "
            f"{ours_s:8.2f} {yambo_s:9.1f} {yambo_s / ours_s:8.0f}"
        )
        rows.append((error, ours_s, yambo_s))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("names", nargs="*", help="crystals (default: all on grids YAMBO treats exactly)")
    parser.add_argument("--pseudo-dir", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/rpa_against_yambo"))
    arguments = parser.parse_args()
    names = arguments.names or [
        p.parent.name
        for p in sorted(arguments.reference.glob("*/timings.json"))
        if p.parent.name not in MERGED_KPOINTS
    ]
    print("crystal  dir   Gmax  n_g o/Y       1-SC   ours/s   YAMBO/s    ratio")
    rows, per_crystal = [], []
    for name in names:
        reference, work = arguments.reference / name, arguments.work / name
        save_dir = wavefunctions(reference, work, arguments.pseudo_dir)
        found = compare(name, reference, solve(save_dir, work / "response.npz"))
        rows += found
        per_crystal += found[:1]
    print(
        f"median 1-SC {median(r[0] for r in rows):.1e} (worst {max(r[0] for r in rows):.1e}), "
        f"median CPU ours {median(r[1] for r in per_crystal):.2f} s, "
        f"YAMBO {median(r[2] for r in per_crystal):.1f} s, "
        f"median ratio {median(r[2] / r[1] for r in per_crystal):.0f}"
    )


if __name__ == "__main__":
    main()
