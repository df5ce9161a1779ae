"""Spectra from a ground state alone, without dense nscf and YAMBO: CPU seconds and errors.

    python benchmarks/bands_without_nscf.py REFERENCE_DIR [NAME...] [--work D] [--pseudo-dir D]
        [--alexandria FILE...] [--repeats 3]

One thread, user + system seconds of whole processes, start-up included. Ours: pw.x scf with the farm's own
deck (no empty bands), pp.x, and `farm spectra` with bands to 25 eV, a band structure, six Gmax steps to
10 Ry, three directions; its median of some repeats.

Reference crystals (REFERENCE_DIR, default $YAMBO_REFERENCE, as in rpa_against_yambo.py), on exactly their
k-points. Theirs: scf + nscf + p2y + YAMBO as recorded with them, with their number of bands, one direction
(h-BN and wurtzite BN two) and only as far as YAMBO's ladder went. For the errors the reduced basis is made
once more from the density, with the bands and at the k-points of an nscf run, and compared with it:
(ours - pw.x) of every band up to 20 eV above the valence band maximum and above that, and 1-SC of Im eps of
every step and direction. Bands in a basis are never below exact ones: where ours are below those of pw.x,
it is pw.x that has not converged.

Crystals of low symmetry (GeS; two of the --alexandria files), on the published grid, each once. Theirs is
partly an estimate: nscf is measured at 2 and 6 k-points, with the number of bands that we keep, and scaled
to all inequivalent ones; the steps of YAMBO are counted by the published rule on our spectra, their seconds
are by yambo_cost.py. Not run when only names of reference crystals are given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
from rpa_against_yambo import GMAX_MRY, wavefunctions
from yambo_cost import YamboCost, exact_names, fit_yambo, quality

from farm.compact_cell import compact_cell
from farm.crystal import Crystal
from farm.kpoints import (
    FloatArray,
    IntArray,
    grid_divisions,
    point_keys,
    shifted_grid,
    space_group,
    star_images,
)
from farm.protocol import PRESETS
from farm.pseudopotentials import count_electrons, pseudopotential_directory
from farm.sources import read_source
from farm.spectrum import energy_grid_ev, equal_directions, similarity_coefficient
from farm.units import HARTREE_EV
from workers.context import StepContext
from workers.history import BandsStep, PotentialStep, ScfStep
from workers.launcher import launch
from workers.potentials import POTENTIAL_FILE, run_local_potential
from workers.pseudos import checked_pseudopotentials
from workers.pw_steps import pw_input
from workers.qe.outputs import JOB_DONE
from workers.reduced_basis.bands import BandsRequest, compute_bands
from workers.reduced_basis.potential import read_local_potential
from workers.reduced_basis.training import BandTolerance
from workers.rpa.response import ResponseRequest, response_of
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials
from workers.scratch import Workspace

PAPER = PRESETS["paper"]
Divisions = tuple[int, int, int]

# 6-atom cells with one and four symmetry operations: MgHSe P1, BeCl2 C2/m.
LOW_SYMMETRY = ("agm002079747", "agm003203397")
LOW_SYMMETRY_KPPA = 500
NSCF_KPOINTS = (2, 6)

# Pnma. Wiedemeier and von Schnering, Z. Kristallogr. 148, 295 (1978).
GES = Crystal(
    material_id="GeS",
    lattice_angstrom=((10.470, 0.0, 0.0), (0.0, 3.641, 0.0), (0.0, 0.0, 4.299)),
    species=("Ge",) * 4 + ("S",) * 4,
    frac_coords=(
        (0.1221, 0.25, 0.1067),
        (0.3779, 0.75, 0.6067),
        (0.6221, 0.25, 0.3933),
        (0.8779, 0.75, 0.8933),
        (0.8495, 0.25, 0.5027),
        (0.6505, 0.75, 0.0027),
        (0.3495, 0.25, 0.9973),
        (0.1505, 0.75, 0.4973),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Ours:
    """CPU seconds of the three programs, of the bands among them, and what `farm spectra` printed."""

    scf_s: float
    pp_s: float
    spectra_s: float
    bands_s: float
    document: dict[str, Any]

    @property
    def total_s(self) -> float:
        return self.scf_s + self.pp_s + self.spectra_s

    def columns(self) -> str:
        """As a part of a row under ``HEADER``."""
        found = self.document
        return (
            f"{found['n_kpoints_used']:4} {found['n_bands']:5} {found['n_basis_functions']:4}"
            f" {found['n_basis_samples']:4} {self.scf_s:6.2f} {self.pp_s:5.2f}"
            f" {self.bands_s:6.2f} {self.spectra_s - self.bands_s:5.2f} {self.total_s:6.2f}"
        )


HEADER = "   k bands func samp  scf/s  pp/s bands/s rest/s  all/s"


def cpu_s(argv: Sequence[str], directory: Path, name: str) -> float:
    """User + system seconds of a process that must end well; its output is ``name``.out."""
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    process = launch(argv, directory=directory, stdout=out, stderr=err)
    if process.wait() or (argv[0] == "pw.x" and JOB_DONE not in out.read_text()):
        raise RuntimeError(f"{out}: exit code {process.returncode}\n{err.read_text()[-2000:]}")
    return process.usage.cpu_s


def context_of(crystal: Crystal, work: Path, pseudo_dir: Path) -> StepContext:
    """An empty work directory for a crystal."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "pseudo").symlink_to(pseudo_dir.resolve())
    return StepContext(
        crystal=crystal,
        cell=compact_cell(crystal),
        protocol=PAPER,
        n_electrons=count_electrons(crystal),
        pseudo_files=checked_pseudopotentials(crystal.elements, pseudo_dir),
        workspace=Workspace(work.resolve(), "benchmark"),
        cancelled=Event(),
    )


def measure_ours(context: StepContext, kgrid: Divisions, toml: str, basis: IntArray, repeats: int) -> Ours:
    """Run scf, pp.x and `farm spectra`; ``basis`` as its --grid-basis."""
    workspace, scf = context.workspace, ScfStep(ecutwfc_ry=PAPER.ecutwfc_ry, kgrid=kgrid)
    directory, potential = workspace.step_directory(scf), PotentialStep(ground_state=scf)
    (directory / "scf.in").write_text(pw_input(scf, context).text())
    scf_s = cpu_s(["pw.x", "-inp", "scf.in"], directory, "scf")
    save = workspace.save_directory(scf)
    pp_s = run_local_potential(save, workspace.step_directory(potential), context.cancelled).cpu_s
    (workspace.directory / "protocol.toml").write_text(f'preset = "paper"\n{toml}\n')
    command = [sys.executable, "-m", "workers.cli.spectra", str(save), "--json"]
    command += ["--protocol", str(workspace.directory / "protocol.toml")]
    command += ["--potential", str(workspace.potential_file(potential))]
    command += ["--grid-basis", " ".join(map(str, basis.ravel()))]
    seconds, bands_s = [], []
    for _ in range(repeats):
        seconds.append(cpu_s(command, workspace.directory, "spectra"))
        document = json.loads((workspace.directory / "spectra.out").read_text())
        bands_s.append(document["bands_cpu_seconds"])
    return Ours(
        scf_s=scf_s, pp_s=pp_s, spectra_s=median(seconds), bands_s=median(bands_s), document=document
    )


def request_for(crystal: Crystal, divisions: Divisions) -> tuple[str, IntArray]:
    """Protocol fields and grid basis that give just these divisions with the published shift.

    Where the rule for divisions never yields them (wurtzite BN), a longer third vector does, in which the
    same points have another shift.
    """
    wanted = np.sort(point_keys(shifted_grid(divisions, PAPER.response_kshift)))
    for shear in range(17):
        basis = np.array([[1, 0, 0], [0, 1, 0], [-shear, 0, 1]])
        x, y, z = (float(s) for s in np.array(PAPER.response_kshift) @ np.linalg.inv(basis.T))
        if not np.array_equal(wanted, np.sort(point_keys(shifted_grid(divisions, (x, y, z)) @ basis.T))):
            continue
        cell = np.linalg.inv(basis) @ crystal.lattice
        sheared = replace(crystal, lattice_angstrom=tuple(map(tuple, cell.tolist())))
        for kppa in range(1, 2 * int(np.prod(divisions)) * crystal.n_atoms):
            if grid_divisions(sheared, kppa, even=True) == divisions:
                return f"response_kppa = {kppa}\nresponse_kshift = [{x}, {y}, {z}]", basis
    raise RuntimeError(f"no density gives {divisions} for {crystal.material_id}")


def errors_row(save_dir: Path, work: Path) -> tuple[str, float, float]:
    """Our bands and spectra against those of an nscf run: a row, the largest |difference|, 1-SC."""
    save, group = read_save(save_dir), space_group(read_save(save_dir).crystal())
    pseudos = read_pseudopotentials(save, None)
    work.mkdir(exist_ok=True)
    run_local_potential(save_dir.resolve(), work, Event())
    tolerance = BandTolerance()
    request = BandsRequest(
        grid=save.kpoints,
        n_bands=save.n_bands,
        window_ev=None,
        tolerance=tolerance,
        path=np.zeros((0, 3)),
    )
    bands = compute_bands(save, pseudos, read_local_potential(work / POTENTIAL_FILE), group, request)
    stars = {int(key): i for i, key in enumerate(star_keys(bands.save.kpoints, group.point_group))}
    ours = bands.save.eigenvalues[0, [stars[int(k)] for k in star_keys(save.kpoints, group.point_group)]]
    theirs = save.eigenvalues[0]
    filled = theirs[:, save.n_valence[0] - 1].max()
    in_window = (theirs - filled) * HARTREE_EV <= tolerance.window_top_ev
    difference = (ours - theirs) * HARTREE_EV * 1e3
    window, top = difference[in_window], difference[~in_window]
    spectra = ResponseRequest(
        gmax_mry=GMAX_MRY,
        energies_ev=energy_grid_ev(PAPER.n_energies, PAPER.energy_max_ev),
        damping_ev=PAPER.damping_ev,
    )
    exact = response_of(save, pseudos, spectra, group)
    reduced = response_of(bands.save, pseudos, spectra, group, wavefunctions=bands.wavefunctions)
    worst = max(
        1 - similarity_coefficient(reduced.eps[i, d].imag, exact.eps[i, d].imag, exact.energies_ev)
        for i in range(len(GMAX_MRY))
        for d in range(3)
    )
    trained = bands.trained
    row = (
        f"{len(bands.save.kpoints):4} {save.n_bands:5} {trained.basis.size:4} {len(trained.samples):4}"
        f" {window.min():7.2f} {window.max():6.2f} {top.min(initial=0):7.2f} {top.max(initial=0):6.2f}"
        f" {trained.window_error_ev * 1e3:9.2f} {trained.top_error_ev * 1e3:5.2f}"
        f" {bands.pw_error_ev * 1e3:8.3f} {worst:11.1e}"
    )
    return row, float(np.abs(window).max()), worst


def star_keys(kpoints: FloatArray, rotations: IntArray) -> IntArray:
    """The same integer for equivalent k-points, shape ``(n_k,)``."""
    keys: IntArray = star_images(kpoints, rotations)[:, 0]
    return keys


def dense_nscf_s(context: StepContext, scf: ScfStep, n_bands: int) -> tuple[float, float]:
    """CPU seconds of nscf at all inequivalent k-points, scaled, and of each k-point."""
    deck = pw_input(BandsStep(ground_state=scf, nbnd=n_bands), context)
    seconds = []
    for n in NSCF_KPOINTS:
        directory = context.workspace.directory / f"nscf-{n}"
        shutil.copytree(
            context.workspace.save_directory(scf),
            directory / "out" / "pwscf.save",
            ignore=shutil.ignore_patterns("wfc*"),
        )
        chosen = np.linspace(0, len(deck.kpoints) - 1, n).round().astype(int)
        few = deck.evolve(kpoints=tuple(deck.kpoints[i] for i in chosen), kweights=(1.0,) * n)
        (directory / "nscf.in").write_text(few.text())
        seconds.append(cpu_s(["pw.x", "-inp", "nscf.in"], directory, "nscf"))
    per_kpoint = (seconds[-1] - seconds[0]) / (NSCF_KPOINTS[-1] - NSCF_KPOINTS[0])
    return seconds[0] + per_kpoint * (len(deck.kpoints) - NSCF_KPOINTS[0]), per_kpoint


def yambo_s(cost: YamboCost, document: dict[str, Any]) -> tuple[float, str]:
    """Estimate for a crystal by our spectra of it, and its RPA steps along each inequivalent direction."""
    n_valence = document["n_valence"][0]
    transitions = document["n_kpoints_used"] * n_valence * (document["n_bands"] - n_valence)
    total, counts = 0.0, []
    for direction, *_ in equal_directions(np.array(document["eps_imag"])):
        similarities = [step[direction] for step in document["step_similarity"]]
        good = (i for i, sc in enumerate(similarities, start=1) if sc > PAPER.similarity_threshold)
        counts.append(next(good, len(similarities)))
        total += sum(cost.step_s(transitions, n_g) for n_g in document["n_g"][: counts[-1] + 1])
    return total, "+".join(map(str, counts))


def reference_crystals(
    reference: Path, names: Sequence[str], work: Path, pseudo_dir: Path, repeats: int
) -> None:
    """Print the tables of cost and of errors."""
    print(f"crystal   their bands{HEADER}  QE+YAMBO/s  ratio")
    ratios, rows = [], []
    for name in names:
        listed = read_save(reference / name)
        meta = json.loads((reference / name / "timings.json").read_text())["meta"]
        found = re.search(
            r"(?i)K_POINTS automatic\s+(\d+) (\d+) (\d+)", (reference / name / "scf.in").read_text()
        )
        if found is None:
            raise RuntimeError(f"{name}: no automatic grid in scf.in")
        save_dir = wavefunctions(reference / name, work / name, pseudo_dir)
        crystal = listed.crystal()
        a, b, c = meta["kgrid"]
        toml, basis = request_for(crystal, (a, b, c))
        context = context_of(crystal, work / name / "reduced", pseudo_dir)
        kgrid = (int(found[1]), int(found[2]), int(found[3]))
        ours = measure_ours(context, kgrid, toml, context.cell.basis @ basis, repeats)
        theirs_s = meta["cpu_qe_s"] + meta["cpu_yambo_s"]
        ratios.append(theirs_s / ours.total_s)
        print(
            f"{name:9} {listed.n_bands:11}{ours.columns()} {theirs_s:11.1f} {ratios[-1]:6.1f}", flush=True
        )
        rows.append((name, errors_row(save_dir, work / name / "reduced" / "errors")))
    print(f"CPU ratio: median {median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}\n")
    print(
        "crystal      k bands func samp  up to 20 eV/meV      above/meV  reported/meV  pw.x/meV  worst 1-SC"
    )
    for name, (row, *_) in rows:
        print(f"{name:9} {row}")
    windows, similarities = [r[1] for _, r in rows], [r[2] for _, r in rows]
    print(
        f"largest difference up to 20 eV: median {median(windows):.2f} meV, worst {max(windows):.2f} meV; "
        f"1-SC: median {median(similarities):.1e}, worst {max(similarities):.1e}\n"
    )


def low_symmetry(crystals: Sequence[Crystal], cost: YamboCost, work: Path, pseudo_dir: Path) -> None:
    """Print the table of crystals for which theirs is an estimate."""
    print(f"crystal{HEADER}  nscf/s per k  RPA steps     n_G  YAMBO est./s  ratio  without YAMBO")
    ratios = []
    for crystal in crystals:
        context = context_of(crystal, work / crystal.material_id / "reduced", pseudo_dir)
        kgrid = grid_divisions(context.cell.crystal, LOW_SYMMETRY_KPPA, even=False)
        ours = measure_ours(context, kgrid, "", context.cell.basis, 1)
        scf = ScfStep(ecutwfc_ry=PAPER.ecutwfc_ry, kgrid=kgrid)
        nscf_s, per_kpoint = dense_nscf_s(context, scf, ours.document["n_bands"])
        estimate_s, steps = yambo_s(cost, ours.document)
        ratios.append((ours.scf_s + nscf_s + estimate_s) / ours.total_s)
        sizes = "/".join(map(str, ours.document["n_g"][1:3]))
        print(
            f"{crystal.formula:7}{ours.columns()} {nscf_s:7.0f} {per_kpoint:5.2f} {steps:>10} {sizes:>7}"
            f" {estimate_s:13.0f} {ratios[-1]:6.1f} {(ours.scf_s + nscf_s) / ours.total_s:14.1f}",
            flush=True,
        )
    print(
        f"CPU ratio, partly estimated: median {median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}"
    )


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path, nargs="?", default=os.environ.get("YAMBO_REFERENCE"))
    parser.add_argument(
        "names", nargs="*", help="reference crystals (default: all on grids YAMBO treats exactly)"
    )
    parser.add_argument(
        "--alexandria", type=Path, nargs="*", default=[], help="files that hold 6-atom cells"
    )
    parser.add_argument("--pseudo-dir", type=Path, default=pseudopotential_directory())
    parser.add_argument("--work", type=Path, default=Path("benchmarks/work/bands_without_nscf"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_intermixed_args()
    if arguments.reference is None:
        print("skipped: needs YAMBO reference runs, as an argument or in YAMBO_REFERENCE")
        return
    exact = exact_names(arguments.reference)
    names, pseudo_dir = arguments.names or exact, arguments.pseudo_dir
    reference_crystals(arguments.reference, names, arguments.work, pseudo_dir, arguments.repeats)
    if arguments.names and not arguments.alexandria:
        return
    read = (crystal for path in arguments.alexandria for crystal in read_source(path))
    found = [c for c in read if isinstance(c, Crystal) and c.material_id in LOW_SYMMETRY]
    cost, steps = fit_yambo(arguments.reference, exact)
    print(quality(cost, steps))
    low_symmetry([GES, *found], cost, arguments.work, pseudo_dir)


if __name__ == "__main__":
    main()
