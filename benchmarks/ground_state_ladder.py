"""The published ground-state convergence: what our ladder costs, and whether it ends on the same rung.

Baseline, in the same run: every rung from atoms to the protocol's threshold, cutoffs and k-grids as
published (Grunert et al., Nat. Commun. 16, 8142 (2025)). Ours: the job of the farm, whose spectra take the
part of the last rung; their seconds are shown, too. User + system CPU seconds, one core.

    python benchmarks/ground_state_ladder.py FILE [--materials 12] [--most-cpu-s 60] [--seed 1]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from pymatgen.core import Element

from farm.compact_cell import compact_cell
from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.errors import CalculationError, FarmError
from farm.job import Job, Outcome, Stage
from farm.protocol import PRESETS
from farm.pseudopotentials import count_electrons, entry, pseudopotential_directory
from farm.sources import read_source
from workers.compute import compute
from workers.convergence import Grid, Ladder, make_ladder
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.supervise import run_pw

PAPER = PRESETS["paper"]


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """Where a ladder ended, what it cost and how many runs it took."""

    ecutwfc_ry: int
    kgrid: Grid
    cpu_s: float
    n_runs: int


def as_published(crystal: Crystal, ladder: Ladder, directory: Path) -> Climbed:
    """Every rung from atoms, to the threshold. Raises CalculationError where the ladder ends open."""
    spent: list[float] = []
    known: dict[tuple[int, Grid], float] = {}
    (directory / "pseudo").symlink_to(pseudopotential_directory())

    def energy_ev(cutoff: int, grid: Grid) -> float:
        if (cutoff, grid) not in known:
            place = directory / f"{cutoff}-{'x'.join(map(str, grid))}"
            place.mkdir()
            session = PwSession(
                place.name, _input(crystal, cutoff, grid), place, n_electrons=count_electrons(crystal)
            )
            known[cutoff, grid] = (run_pw(session).energy_ev or 0.0) / crystal.n_atoms
            spent.append(session.usage.cpu_s)
        return known[cutoff, grid]

    tolerance_ev, first = ladder.tolerance_ev or 0.0, ladder.kgrids[0]
    for cutoff, above in pairwise(ladder.cutoffs_ry):
        if abs(energy_ev(above, first) - energy_ev(cutoff, first)) < tolerance_ev:
            break
    else:
        raise CalculationError("the cutoff ladder ended open")
    for grid, denser in pairwise(ladder.kgrids):
        if abs(energy_ev(cutoff, denser) - energy_ev(cutoff, grid)) < tolerance_ev:
            return Climbed(ecutwfc_ry=cutoff, kgrid=grid, cpu_s=sum(spent), n_runs=len(spent))
    raise CalculationError("the k-grid ladder ended open")


def _input(crystal: Crystal, cutoff: int, grid: Grid) -> PwInput:
    return PwInput(
        calculation="scf",
        lattice_angstrom=crystal.lattice_angstrom,
        species=crystal.species,
        frac_coords=crystal.frac_coords,
        pseudo_files={element: entry(element).file for element in crystal.elements},
        masses_amu={element: float(Element(element).atomic_mass) for element in crystal.elements},
        pseudo_dir="../pseudo/",
        ecutwfc_ry=cutoff,
        ecutrho_ry=PAPER.ecutrho_per_ecutwfc * cutoff,
        kgrid=grid,
        conv_thr_ry=PAPER.scf_threshold_ry,
    )


def by_the_farm(crystal: Crystal, directory: Path) -> tuple[Climbed, float]:
    """The job under the published protocol: its ladder, and the seconds of bands and response."""
    job = Job(crystal=crystal, protocol=PAPER.to_dict(), protocol_hash=PAPER.hash)
    result = compute(job, scratch=directory, pseudo_dir=pseudopotential_directory())
    if result.outcome not in (Outcome.DONE, Outcome.UNCONVERGED) or not result.ladder:
        raise CalculationError(f"{result.outcome}: {result.reason}")
    steps = [step for step in result.steps if step.stage is Stage.GROUND_STATE]
    a, b, c = result.parameters["ground_state_kgrid"]
    climbed = Climbed(
        ecutwfc_ry=result.parameters["ecutwfc_ry"],
        kgrid=(a, b, c),
        cpu_s=sum(step.cpu_s for step in steps),
        n_runs=len(steps),
    )
    return climbed, result.cpu_s - climbed.cpu_s


def chosen(path: Path, materials: int, most_cpu_s: float, seed: int) -> list[Crystal]:
    """Random insulator candidates of a file that are predicted to cost no more than so much."""
    crystals = [item for item in read_source(path) if isinstance(item, Crystal)]
    order = np.random.default_rng(seed).permutation(len(crystals))
    found: list[Crystal] = []
    for crystal in (crystals[i] for i in order):
        try:
            cheap = predict_cost(crystal, PAPER).total_cpu_s < most_cpu_s
        except FarmError:
            continue
        if cheap and not count_electrons(crystal) % 2:
            found.append(crystal)
        if len(found) == materials:
            break
    return found


def main() -> int:
    """Print a row a material, and medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--materials", type=int, default=12)
    parser.add_argument("--most-cpu-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{'material':24} {'formula':10} {'published':>16} {'runs':>4} {'CPU s':>7}"
        f" {'ours':>16} {'runs':>4} {'CPU s':>7} {'ratio':>6} {'spectra':>8}",
        flush=True,
    )
    ratios, same, ours_s, published_s = [], 0, 0.0, 0.0
    for crystal in chosen(options.file, options.materials, options.most_cpu_s, options.seed):
        cell = compact_cell(crystal).crystal
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "published").mkdir()
            try:
                published = as_published(cell, make_ladder(cell, PAPER), Path(name) / "published")
                ours, rest_s = by_the_farm(crystal, Path(name) / "farm")
            except CalculationError as error:
                print(f"{crystal.material_id:24} {crystal.formula:10} {error.message}", flush=True)
                continue
        where = [f"{c.ecutwfc_ry} Ry {'x'.join(map(str, c.kgrid))}" for c in (published, ours)]
        same += where[0] == where[1]
        ratios.append(published.cpu_s / ours.cpu_s)
        ours_s, published_s = ours_s + ours.cpu_s, published_s + published.cpu_s
        print(
            f"{crystal.material_id:24} {crystal.formula:10} {where[0]:>16} {published.n_runs:4}"
            f" {published.cpu_s:7.1f} {where[1]:>16} {ours.n_runs:4} {ours.cpu_s:7.1f}"
            f" {ratios[-1]:6.2f} {rest_s:8.1f}",
            flush=True,
        )
    print(f"{len(ratios)} materials, {same} on the same rung, median ratio {np.median(ratios):.2f}")
    print(f"in all: published {published_s:.0f} s, ours {ours_s:.0f} s, ratio {published_s / ours_s:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
