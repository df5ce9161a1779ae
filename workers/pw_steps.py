"""The steps of a job that pw.x runs: scf on a rung of the ladder, and bands on the shifted grid."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from farm.compact_cell import CompactCell
from farm.crystal import Crystal
from farm.errors import CalculationError, CrystalError
from farm.job import Engine
from farm.kpoints import (
    FloatArray,
    IntArray,
    grid_divisions,
    reduce_kpoints,
    shifted_grid,
    space_group,
)
from farm.protocol import Protocol
from workers.bands import bands_to_window
from workers.context import StepContext
from workers.convergence import loose_threshold_ry
from workers.diagnosis import RunOutcome
from workers.history import BandsDone, BandsStep, Done, ScfDone, ScfStep, StepFailed
from workers.launcher import Usage
from workers.manifest import Record
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.qe.outputs import PwOutput, band_edges
from workers.sessions import read_text
from workers.supervise import run_pw
from workers.used_inputs import used_pw_inputs
from workers.yambo.symmetry import symmorphic_rotations, yambo_kpoints

# Measured on Si and h-BN against 1e-10 Ry: eigenvalues within 1e-5 eV at half the CPU time.
BANDS_THRESHOLD_RY = 1e-6


def run_by_pw(step: ScfStep | BandsStep, context: StepContext) -> Record:
    """Run pw.x to a record; a calculation that fails is recorded as StepFailed.

    Raises ResourceError, MissingProgramError and LeaseLostError, which are not the material's fault.
    """
    try:
        session = _session(step, context)
    except (CalculationError, CrystalError) as error:
        failed = StepFailed(reason=error.message, diagnosis="kpoints_impossible", advice=error.fix)
        return Record(step=step, done=failed, usage=Usage())
    program = ""
    done: Done
    try:
        output = run_pw(session)
        program, done = output.version, _pw_done(step, output, context.protocol)
    except (CalculationError, CrystalError) as error:
        found = session.diagnosis
        done = StepFailed(
            reason=error.message,
            diagnosis=found.name if found else "unknown",
            advice=found.advice if found else "",
            is_metal=found is not None and found.outcome is RunOutcome.METAL,
        )
    return Record(
        step=step,
        done=done,
        usage=session.usage,
        corrections=tuple(session.corrections),
        program=program,
        inputs=used_pw_inputs(session.attempts),
    )


def pw_input(step: ScfStep | BandsStep, context: StepContext) -> PwInput:
    """The pw.x input of a step before any correction. Raises as :func:`band_kpoints`."""
    points = band_kpoints(step, context) if isinstance(step, BandsStep) else None
    return step_input(step, context.cell.crystal, context.protocol, context.pseudo_files, points)


def step_input(
    step: ScfStep | BandsStep,
    crystal: Crystal,
    protocol: Protocol,
    pseudo_files: Mapping[str, str],
    points: tuple[FloatArray, IntArray] | None = None,
) -> PwInput:
    """The same of what it depends on.

    crystal:      in the cell that is computed
    pseudo_files: element -> file name
    points:       k-points and weights of a band calculation (:func:`band_kpoints`)
    """
    ecutwfc_ry = step.ecutwfc_ry if isinstance(step, ScfStep) else step.ground_state.ecutwfc_ry
    common = PwInput(
        calculation="scf",
        lattice_angstrom=crystal.lattice_angstrom,
        species=crystal.species,
        frac_coords=crystal.frac_coords,
        pseudo_files=pseudo_files,
        masses_amu=_masses_amu(crystal),
        pseudo_dir="../pseudo/",
        ecutwfc_ry=ecutwfc_ry,
        ecutrho_ry=protocol.ecutrho_per_ecutwfc * ecutwfc_ry,
        electron_maxstep=protocol.max_scf_iterations,
    )
    if isinstance(step, ScfStep):
        return common.evolve(
            kgrid=step.kgrid,
            conv_thr_ry=loose_threshold_ry(protocol, crystal.n_atoms, is_first=not step.start)
            if step.is_loose
            else protocol.scf_threshold_ry,
            startingpot="file" if step.start else "atomic",
        )
    if points is None:
        raise CalculationError(f"{step.name}: a band calculation needs its k-points")
    kpoints, multiplicity = points
    return common.evolve(
        calculation="nscf",
        kpoints=tuple((float(x), float(y), float(z)) for x, y, z in kpoints),
        kweights=tuple(float(n) for n in multiplicity),
        nbnd=step.nbnd,
        diago_thr_ry=BANDS_THRESHOLD_RY,
        use_symmetry=False,
    )


def band_kpoints(step: BandsStep, context: StepContext) -> tuple[FloatArray, IntArray]:
    """The k-points of a band calculation and their weights, in the reciprocal vectors of the computed cell.

    Raises CrystalError where they are too many.
    """
    rotations = ground_state_rotations(step, context) if context.engine is Engine.YAMBO else None
    return listed_kpoints(context.crystal, context.cell, context.protocol, rotations)


def ground_state_rotations(step: BandsStep, context: StepContext) -> IntArray:
    """What YAMBO can use of the symmetry that pw.x found in the ground state, shape ``(n, 3, 3)``."""
    save = context.workspace.save_directory(step.ground_state)
    return symmorphic_rotations(read_text(save / "data-file-schema.xml"))


def listed_kpoints(
    crystal: Crystal, cell: CompactCell, protocol: Protocol, rotations: IntArray | None
) -> tuple[FloatArray, IntArray]:
    """The k-points of a band calculation and their weights, in the reciprocal vectors of ``cell``.

    rotations: for YAMBO, which weighs points by itself and needs more of them; None: for our solver

    Raises CrystalError where they are too many.
    """
    if rotations is not None:
        points = yambo_kpoints(crystal, cell, protocol, rotations)
        return points, np.ones(len(points), dtype=np.int64)
    listed, multiplicity = response_kpoints(crystal, protocol)
    return cell.kpoints(listed), multiplicity


def response_kpoints(crystal: Crystal, protocol: Protocol) -> tuple[FloatArray, IntArray]:
    """The inequivalent points of the spectra's shifted grid, and how many each stands for.

    In the reciprocal vectors of ``crystal``.
    """
    divisions = grid_divisions(crystal, protocol.response_kppa, even=True)
    full = shifted_grid(divisions, protocol.response_kshift)
    return reduce_kpoints(full, space_group(crystal).point_group)


def _session(step: ScfStep | BandsStep, context: StepContext) -> PwSession:
    workspace = context.workspace

    def prepare(save: Path) -> None:
        # Copies, so that a run killed while writing leaves the density whole.
        if isinstance(step, BandsStep):
            for path in workspace.save_directory(step.ground_state).iterdir():
                shutil.copyfile(path, save / path.name)
        elif step.start:
            # Nothing else: numbers of another run must not be read as this one's.
            for path in workspace.save_directory_named(step.start).glob("charge-density.*"):
                shutil.copyfile(path, save / path.name)

    return PwSession(
        step.name,
        pw_input(step, context),
        workspace.step_directory(step),
        n_electrons=context.n_electrons,
        ranks=context.ranks,
        prepare=prepare,
        cancelled=context.cancelled,
    )


def _pw_done(step: ScfStep | BandsStep, output: PwOutput, protocol: Protocol) -> Done:
    if isinstance(step, BandsStep):
        edges = band_edges(output)
        return BandsDone(
            gap_indirect_ev=edges.gap_indirect_ev,
            gap_direct_ev=edges.gap_direct_ev,
            top_ev=edges.top_ev,
            n_bands=bands_to_window(
                output.eigenvalues_ev, round(output.n_electrons) // 2, protocol.energy_window_ev
            ),
        )
    if output.energy_ev is None:
        raise CalculationError(f"{step.name}: no total energy in the output")
    return ScfDone(energy_ev=output.energy_ev)


def _masses_amu(crystal: Crystal) -> dict[str, float]:
    from pymatgen.core import Element

    return {element: float(Element(element).atomic_mass) for element in sorted(crystal.elements)}
