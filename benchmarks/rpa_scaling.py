"""How the RPA solver's CPU time grows with k-points, pairs of bands and G vectors, and its memory.

    python benchmarks/rpa_scaling.py [--work DIR] [--pseudo-dir DIR]

GeS (Pnma, 8 atoms, 40 filled bands of 60, 60 Ry, 8 k-points; pw.x runs once, a few minutes, and is
kept), treated without its symmetry: the full matrix of up to 10 Ry. More k-points are the same ones
again. One thread. Two parts are told apart: the sum over k-points (pair densities, velocities, spectral
matrix), and the Dyson equation at 401 photon energies, which does not depend on them. Each quantity is
varied with the others at their largest; exponents are the slopes of log t against log x.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np

from farm.kpoints import SpaceGroup
from farm.pseudopotentials import pseudopotential_directory
from farm.spectrum import energy_grid_ev
from workers.rpa.response import ResponseRequest, response_of
from workers.rpa.save import Save, read_save
from workers.rpa.transitions import accumulate
from workers.rpa.upf import read_pseudopotentials
from workers.rpa.wavefunctions import Wavefunctions, read_wavefunctions

NO_SYMMETRY = SpaceGroup(1, "P1", np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)))
N_KPOINTS = 8

# Wiedemeier and von Schnering, Z. Kristallogr. 148, 295 (1978).
GES = """&CONTROL
 calculation='{calculation}', prefix='GeS', outdir='out', pseudo_dir='{pseudo_dir}', disk_io='low',
/
&SYSTEM
 ibrav=8, A=10.470, B=3.641, C=4.299, nat=8, ntyp=2, ecutwfc=60, occupations='fixed', {system}
/
&ELECTRONS
 conv_thr=1e-9, diago_full_acc=.true.,
/
ATOMIC_SPECIES
 Ge 72.63 Ge_ONCV_PBE-1.2.upf
 S 32.06 S_ONCV_PBE-1.2.upf
ATOMIC_POSITIONS crystal
 Ge 0.1221 0.25 0.1067
 Ge 0.3779 0.75 0.6067
 Ge 0.6221 0.25 0.3933
 Ge 0.8779 0.75 0.8933
 S 0.8495 0.25 0.5027
 S 0.6505 0.75 0.0027
 S 0.3495 0.25 0.9973
 S 0.1505 0.75 0.4973
K_POINTS {points}
"""


def calculation(work: Path, pseudo_dir: Path) -> Save:
    """Run pw.x unless done."""
    if not (work / "done").is_file():
        work.mkdir(parents=True, exist_ok=True)
        grid = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
        rows = [f"{x / 2 + 1 / 64:.6f} {y / 2 + 2 / 64:.6f} {z / 2 + 3 / 64:.6f} 1" for x, y, z in grid]
        steps = {
            "scf": {"system": "", "points": "automatic\n2 4 4 0 0 0"},
            "nscf": {
                "system": "nosym=.true., noinv=.true., nbnd=60,",
                "points": "\n".join(["crystal", str(N_KPOINTS), *rows]),
            },
        }
        for step, fields in steps.items():
            text = GES.format(calculation=step, pseudo_dir=pseudo_dir.resolve(), **fields)
            (work / f"{step}.in").write_text(text)
            with (work / f"{step}.out").open("w") as log:
                subprocess.run(["pw.x", "-inp", f"{step}.in"], cwd=work, stdout=log, check=True)
        (work / "done").touch()
    return read_save(work / "out" / "GeS.save")


def cpu_s(save: Save, gmax_mry: int) -> tuple[float, float, int]:
    """CPU seconds of the sum over k-points and of the Dyson equation, and the number of G vectors."""
    request = ResponseRequest(gmax_mry=(0, gmax_mry), energies_ev=energy_grid_ev(), damping_ev=0.3)
    pseudos = read_pseudopotentials(save, None)
    start = time.process_time()
    ends: list[float] = []

    def timed(*arguments: Any) -> Any:
        slabs = accumulate(*arguments)
        ends.append(time.process_time())
        return slabs

    patch = mock.patch.multiple("workers.rpa.transitions", read_wavefunctions=read_again)
    # Repeated points are one star: their weights are given.
    weights = mock.patch("workers.rpa.response.kpoint_weights", lambda save, *_: save.weights)
    with patch, weights, mock.patch("workers.rpa.response.accumulate", timed):
        result = response_of(save, pseudos, request, NO_SYMMETRY)
    return ends[0] - start, time.process_time() - ends[0], result.n_g[-1]


def insulating(save: Save, wanted: int) -> Save:
    """With another number of filled bands, near ``wanted``, that leaves a gap: fewer or more pairs."""
    levels = save.eigenvalues[0]
    gaps = (levels[:, 1:] - levels[:, :-1]).min(axis=0)
    near = range(max(0, wanted - 3), min(wanted + 2, len(gaps)))
    return replace(save, n_valence=(1 + max(near, key=lambda i: gaps[i]),))


def with_kpoints(save: Save, n: int) -> Save:
    """With n k-points: the calculated ones over and over; their weights are taken as they are."""
    again = np.arange(n) % N_KPOINTS
    return replace(
        save,
        kpoints=save.kpoints[again],
        weights=np.full(n, 1 / n),
        weights_final=True,
        n_plane_waves=save.n_plane_waves[again],
        eigenvalues=save.eigenvalues[:, again],
    )


def read_again(save: Save, index: int, spin: int) -> Wavefunctions:
    """The file of the k-point that this one repeats."""
    return read_wavefunctions(save, index % N_KPOINTS, spin)


def table(title: str, rows: Sequence[tuple[int, float, float]]) -> None:
    """Print size, seconds of the sum over k-points, seconds of the Dyson equation; and the exponents."""
    print(f"\n{title:>12}  sum over k/s  Dyson/s")
    for size, sum_s, dyson_s in rows:
        print(f"{size:12d} {sum_s:12.2f} {dyson_s:8.2f}")
    logs = np.log(np.array(rows))
    sum_slope, dyson_slope = np.polyfit(logs[:, 0], logs[:, 1:], 1)[0]
    print(f"    exponent {sum_slope:11.2f} {dyson_slope:8.2f}")


def main() -> None:
    """Print the three tables and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pseudo-dir", type=Path, default=pseudopotential_directory())
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/rpa_scaling"))
    arguments = parser.parse_args()
    save = calculation(arguments.work, arguments.pseudo_dir)
    n_valence, n_bands = save.n_valence[0], save.n_bands
    print(f"GeS: {n_valence} filled bands of {n_bands}, {int(save.n_plane_waves.max())} plane waves")

    cpu_s(with_kpoints(save, 1), 2000)  # libraries loaded
    table("k-points", [(n, *cpu_s(with_kpoints(save, n), 10000)[:2]) for n in (8, 16, 32, 64)])
    save = with_kpoints(save, 32)
    chosen = [insulating(save, n) for n in (5, 10, 16, n_valence)]
    pairs = [s.n_valence[0] * (n_bands - s.n_valence[0]) for s in chosen]
    table("pairs", [(n, *cpu_s(s, 10000)[:2]) for n, s in zip(pairs, chosen, strict=True)])
    found = [cpu_s(save, gmax) for gmax in (2000, 4000, 6000, 8000, 10000)]
    table("G vectors", [(n_g, sum_s, dyson_s) for sum_s, dyson_s, n_g in found])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of all of this: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
