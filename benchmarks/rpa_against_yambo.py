"""The project's RPA solver against YAMBO on reference runs: spectra, G vectors, CPU seconds, memory.

    python benchmarks/rpa_against_yambo.py REFERENCE_DIR [NAME...] [--pseudo-dir D] [--work D] [--repeats 3]

REFERENCE_DIR (default: $YAMBO_REFERENCE) holds one directory a crystal with ``scf.in``, ``nscf.in``,
the YAMBO spectra ``o-*.eps_q1_inv_rpa_dyson`` and ``timings.json``. pw.x is rerun there (kept between
calls). The solver runs as `farm response`, one thread, for all steps to 10 Ry and all directions: user +
system seconds of the whole process, start-up included. YAMBO's are p2y + setup + its runs, which went
only as far as its own ladder, along one direction (h-BN and wurtzite BN two).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from farm.pseudopotentials import pseudopotential_directory
from farm.spectrum import similarity_coefficient

# 4x4x4 and coarser: YAMBO merges distinct k-points there, so that its spectra are no reference.
MERGED_KPOINTS = ("LiF", "Si", "Si_k2")
GMAX_MRY = (0, 2000, 4000, 6000, 8000, 10000)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One crystal: errors of all its YAMBO spectra, and what both programs cost."""

    name: str
    errors: list[float]
    static_errors: list[float]
    same_n_g: bool
    ours_s: float
    yambo_s: float
    nscf_s: float
    memory_mb: float

    @property
    def ratio(self) -> float:
        return self.yambo_s / self.ours_s


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


def solve(save_dir: Path, out: Path, repeats: int) -> tuple[dict[str, np.ndarray], float]:
    """`farm response` in a process of its own, some times; the arrays and the median CPU seconds."""
    command = [sys.executable, "-m", "workers.cli.response", str(save_dir), "--out", str(out)]
    command += ["--gmax-mry", *map(str, GMAX_MRY)]
    seconds = []
    for _ in range(repeats):
        before = os.times()
        subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True)
        after = os.times()
        seconds.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    with np.load(out) as arrays:
        return dict(arrays), median(seconds)


def compare(name: str, reference: Path, ours: dict[str, np.ndarray], ours_s: float) -> Row:
    """Our spectra against every YAMBO spectrum of the reference."""
    steps = json.loads((reference / "timings.json").read_text())["steps"]
    errors, static_errors, same = [], [], []
    for path in sorted(reference.rglob("o-*.eps_q1_inv_rpa_dyson")):
        match = re.search(r"dir_([01]+)_sc_(\d+)\.", path.name)
        n_g = re.search(r"Hartree size\s*:\s*(\d+)", path.read_text())
        if match is None or n_g is None:
            continue
        direction, step = match[1].index("1"), GMAX_MRY.index(int(match[2]))
        energies, imag, real = np.loadtxt(path)[:, :3].T
        errors.append(1 - similarity_coefficient(ours["eps_imag"][step, direction], imag, energies))
        static_errors.append(abs(float(ours["eps_real"][step, direction, 0] / real[0]) - 1))
        same.append(int(ours["n_g"][step]) == int(n_g[1]))
    return Row(
        name=name,
        errors=errors,
        static_errors=static_errors,
        same_n_g=all(same),
        ours_s=ours_s,
        yambo_s=sum(s["cpu_s"] for s in steps if s["step"].startswith(("p2y", "yambo"))),
        nscf_s=sum(s["cpu_s"] for s in steps if s["step"] == "nscf"),
        memory_mb=float(ours["peak_memory_mb"]),
    )


def main() -> None:
    """Print a row a crystal and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path, nargs="?", default=os.environ.get("YAMBO_REFERENCE"))
    parser.add_argument("names", nargs="*", help="crystals (default: all on grids YAMBO treats exactly)")
    parser.add_argument("--pseudo-dir", type=Path, default=pseudopotential_directory())
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/rpa_against_yambo"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_intermixed_args()
    if arguments.reference is None:
        print("skipped: needs YAMBO reference runs, as an argument or in YAMBO_REFERENCE")
        return
    names = arguments.names or [
        p.parent.name
        for p in sorted(arguments.reference.glob("*/timings.json"))
        if p.parent.name not in MERGED_KPOINTS
    ]
    print("crystal   spectra  worst 1-SC  eps(0) rel.  n_G   ours/s  YAMBO/s  ratio  nscf/s   MB")
    rows = []
    for name in names:
        reference, work = arguments.reference / name, arguments.work / name
        save_dir = wavefunctions(reference, work, arguments.pseudo_dir)
        row = compare(name, reference, *solve(save_dir, work / "response.npz", arguments.repeats))
        print(
            f"{name:9} {len(row.errors):7} {max(row.errors):11.1e} {max(row.static_errors):13.1e}"
            f"  {'same' if row.same_n_g else 'DIFFER'} {row.ours_s:7.2f} {row.yambo_s:8.1f}"
            f" {row.ratio:6.0f} {row.nscf_s:7.1f} {row.memory_mb:4.0f}",
            flush=True,
        )
        rows.append(row)
    errors = [e for row in rows for e in row.errors]
    print(
        f"1-SC: median {median(errors):.1e}, worst {max(errors):.1e}; "
        f"CPU ratio: median {median(r.ratio for r in rows):.0f}, least {min(r.ratio for r in rows):.0f}; "
        f"all: ours {sum(r.ours_s for r in rows):.1f} s, YAMBO {sum(r.yambo_s for r in rows):.0f} s"
    )


if __name__ == "__main__":
    main()
