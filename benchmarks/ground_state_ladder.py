"""The published ground-state convergence: what our ladder costs, and whether it ends on the same rung.

Baseline, in the same run: every rung from atoms to the protocol's threshold, cutoffs and k-grids as
published (Grunert et al., Nat. Commun. 16, 8142 (2025)). Ours: the job of the farm, whose spectra take the
part of the last rung; their seconds are shown, too. User + system CPU seconds, one core.

dE: total energy of the converged rung, ours less published, meV per atom. 1-SC: worst of Im eps of all
steps and directions, ours against spectra from the ground state of the baseline.

    python benchmarks/ground_state_ladder.py FILE [--materials 12] [--most-cpu-s 60] [--seed 1]
        [--ids ID...]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
from pymatgen.core import Element

from farm.compact_cell import compact_cell
from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.errors import CalculationError, FarmError
from farm.job import Job, Outcome, Stage
from farm.protocol import PRESETS
from farm.pseudopotentials import count_electrons, entry, pseudopotential_directory
from farm.result import Result
from farm.sources import read_source
from farm.spectrum import similarity_coefficient
from farm.units import HARTREE_EV
from workers.compute import compute
from workers.convergence import Grid, Ladder, make_ladder
from workers.potentials import POTENTIAL_FILE, run_local_potential
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.responses import run_spectra
from workers.scratch import RESPONSE_FILE
from workers.spectra import ResponseData, load_response
from workers.supervise import run_pw

PAPER = PRESETS["paper"]


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """Where a ladder ended, at which energy per atom, what it cost and how many runs it took."""

    ecutwfc_ry: int
    kgrid: Grid
    energy_ev: float
    cpu_s: float
    n_runs: int

    @property
    def rung(self) -> str:
        return _rung(self.ecutwfc_ry, self.kgrid)


def _rung(cutoff_ry: int, grid: Grid) -> str:
    return f"{cutoff_ry}Ry-{'x'.join(map(str, grid))}"


def as_published(crystal: Crystal, ladder: Ladder, directory: Path) -> Climbed:
    """Every rung from atoms, to the threshold. Raises CalculationError where the ladder ends open."""
    spent: list[float] = []
    known: dict[tuple[int, Grid], float] = {}
    (directory / "pseudo").symlink_to(pseudopotential_directory())

    def energy_ev(cutoff: int, grid: Grid) -> float:
        if (cutoff, grid) not in known:
            place = directory / _rung(cutoff, grid)
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
            return Climbed(
                ecutwfc_ry=cutoff,
                kgrid=grid,
                energy_ev=energy_ev(cutoff, grid),
                cpu_s=sum(spent),
                n_runs=len(spent),
            )
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


def by_the_farm(crystal: Crystal, directory: Path) -> tuple[Climbed, Result]:
    """The job under the published protocol, and its ladder."""
    job = Job(crystal=crystal, protocol=PAPER.to_dict(), protocol_hash=PAPER.hash)
    energies_ev: dict[str, float] = {}

    def watch(_: Stage, step: str) -> None:
        if step == "potential":  # the ladder has ended; the directory will be gone with the job
            for path in directory.rglob("data-file-schema.xml"):
                total = float(re.findall(r"<etot>(\S+)</etot>", path.read_text())[-1]) * HARTREE_EV
                energies_ev[path.parents[2].name] = total / crystal.n_atoms

    result = compute(job, scratch=directory, pseudo_dir=pseudopotential_directory(), on_progress=watch)
    if result.outcome not in (Outcome.DONE, Outcome.UNCONVERGED) or not result.ladder:
        raise CalculationError(f"{result.outcome}: {result.reason}")
    steps = [step for step in result.steps if step.stage is Stage.GROUND_STATE]
    a, b, c = result.parameters["ground_state_kgrid"]
    cutoff = result.parameters["ecutwfc_ry"]
    climbed = Climbed(
        ecutwfc_ry=cutoff,
        kgrid=(a, b, c),
        energy_ev=energies_ev[f"scf-{_rung(cutoff, (a, b, c))}"],
        cpu_s=sum(step.cpu_s for step in steps),
        n_runs=len(steps),
    )
    return climbed, result


def spectra_of(crystal: Crystal, save: Path, directory: Path) -> ResponseData:
    """Spectra from a ground state of the baseline. Raises CalculationError where there are none."""
    directory.mkdir()
    run_local_potential(save, directory, Event())
    basis, potential = compact_cell(crystal).basis, directory / POTENTIAL_FILE
    run_spectra(save, potential, directory, PAPER, basis, None, Event())
    return load_response(directory / RESPONSE_FILE)


def distance(result: Result, reference: ResponseData) -> float:
    """Worst 1-SC of Im eps, over all steps of the result and all directions."""
    return max(
        1 - similarity_coefficient(ours.imag, theirs.imag, reference.energies_ev)
        for step, eps in zip(result.ladder, reference.eps, strict=False)
        for ours, theirs in zip(step.eps, eps, strict=True)
    )


def chosen(path: Path, materials: int, most_cpu_s: float, seed: int, ids: list[str]) -> list[Crystal]:
    """Those named, or random insulator candidates that are predicted to cost no more than so much."""
    crystals = [item for item in read_source(path) if isinstance(item, Crystal)]
    if ids:
        return [crystal for crystal in crystals if crystal.material_id in ids]
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One material by both ways."""

    published: Climbed
    ours: Climbed
    rest_s: float
    distance: float

    @property
    def ratio(self) -> float:
        return self.published.cpu_s / self.ours.cpu_s

    @property
    def difference_mev(self) -> float:
        return 1e3 * (self.ours.energy_ev - self.published.energy_ev)

    def text(self) -> str:
        theirs, ours = (f"{c.rung:>14} {c.n_runs:4} {c.cpu_s:6.1f}" for c in (self.published, self.ours))
        return (
            f"{theirs} {ours} {self.ratio:6.2f} {self.difference_mev:8.5f} {self.distance:8.1e}"
            f" {self.rest_s:8.1f}"
        )


def compared(crystal: Crystal, directory: Path) -> Row:
    """Both ways. Raises CalculationError where one does not come to its end."""
    (directory / "published").mkdir()
    cell = compact_cell(crystal).crystal
    published = as_published(cell, make_ladder(cell, PAPER), directory / "published")
    ours, result = by_the_farm(crystal, directory / "farm")
    save = directory / "published" / published.rung / "out/pwscf.save"
    reference = spectra_of(crystal, save, directory / "spectra")
    return Row(
        published=published,
        ours=ours,
        rest_s=result.cpu_s - ours.cpu_s,
        distance=distance(result, reference),
    )


def print_sums(rows: list[Row]) -> None:
    """Medians and sums."""
    same = sum(row.published.rung == row.ours.rung for row in rows)
    published_s, ours_s = sum(row.published.cpu_s for row in rows), sum(row.ours.cpu_s for row in rows)
    print(f"{len(rows)} materials, {same} on the same rung")
    print(
        f"published {published_s:.0f} s, ours {ours_s:.0f} s, ratio of sums {published_s / ours_s:.2f}, "
        f"median ratio {median(row.ratio for row in rows):.2f}"
    )
    print(
        f"largest difference of energies {max(abs(r.difference_mev) for r in rows):.1e} meV per atom; "
        f"1-SC: median {median(r.distance for r in rows):.1e}, worst {max(r.distance for r in rows):.1e}"
    )


def main() -> int:
    """Print a row a material, and medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--materials", type=int, default=12)
    parser.add_argument("--most-cpu-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ids", nargs="*", default=[])
    options = parser.parse_args()
    print(
        f"{'material':13} {'formula':9} {'published':>14} runs  CPU s {'ours':>14} runs  CPU s  ratio"
        "   dE/meV     1-SC  spectra",
        flush=True,
    )
    rows: list[Row] = []
    for crystal in chosen(options.file, options.materials, options.most_cpu_s, options.seed, options.ids):
        label = f"{crystal.material_id:13} {crystal.formula:9}"
        with tempfile.TemporaryDirectory() as name:
            try:
                rows.append(compared(crystal, Path(name)))
            except CalculationError as error:
                print(label, error.message, flush=True)
                continue
        print(label, rows[-1].text(), flush=True)
    if rows:
        print_sums(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
