"""Running one step of a job: by pw.x, in the reduced basis, or the response."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from farm.job import Engine
from farm.result import Correction
from workers.context import StepContext
from workers.history import (
    Done,
    PotentialDone,
    PotentialStep,
    ResponseStep,
    ScfStep,
    SpectraStep,
    Step,
    StepFailed,
)
from workers.manifest import Record
from workers.potentials import attempt_local_potential
from workers.pw_steps import run_by_pw
from workers.responses import run_response, run_spectra
from workers.yambo.response import Request, respond


def run_step(step: Step, context: StepContext) -> Record:
    """Run a step to its record; a calculation that fails is recorded as StepFailed.

    Raises ResourceError, MissingProgramError and LeaseLostError, which are not the material's fault.
    """
    record = _run(step, context)
    usage = replace(record.usage, disk_mb=context.workspace.disk_mb(step))
    if isinstance(step, ScfStep):
        _drop_wavefunctions(context.workspace.step_directory(step))
    return replace(record, usage=usage)


def _run(step: Step, context: StepContext) -> Record:
    if isinstance(step, ResponseStep) and context.engine is Engine.YAMBO:
        return _by_yambo(step, context)
    if isinstance(step, ResponseStep):
        save = context.workspace.save_directory(step.bands)
        directory = context.workspace.step_directory(step)
        done, usage = run_response(save, step.n_bands, directory, context.protocol, context.cancelled)
        return Record(step=step, done=done, usage=usage)
    if isinstance(step, PotentialStep | SpectraStep):
        return _in_reduced_basis(step, context)
    return run_by_pw(step, context)


def _in_reduced_basis(step: PotentialStep | SpectraStep, context: StepContext) -> Record:
    workspace = context.workspace
    save = workspace.save_directory(step.ground_state)
    directory = workspace.step_directory(step)
    done: Done
    if isinstance(step, PotentialStep):
        attempted = attempt_local_potential(save, directory, context.cancelled)
        usage = attempted.usage
        done = PotentialDone()
        if attempted.value is None:
            done = StepFailed(reason=attempted.reason, diagnosis="potential_failed")
    else:
        potential = workspace.potential_file(PotentialStep(ground_state=step.ground_state))
        grids = (step.ground_state.kgrid, step.check_kgrid) if step.check_kgrid else None
        done, usage = run_spectra(
            save, potential, directory, context.protocol, context.cell.basis, grids, context.cancelled
        )
    if not isinstance(done, StepFailed):
        return Record(step=step, done=done, usage=usage)
    other_way = Correction(
        step=step.name,
        diagnosis="reduced_basis_failed",
        evidence=done.reason,
        remedy="bands by a dense nscf run",
        changes_physics=False,
    )
    return Record(step=step, done=done, usage=usage, corrections=(other_way,))


def _by_yambo(step: ResponseStep, context: StepContext) -> Record:
    workspace, ground_state = context.workspace, step.bands.ground_state
    request = Request(
        bands=workspace.save_directory(step.bands),
        ground_state=workspace.save_directory(ground_state),
        directory=workspace.step_directory(step),
        crystal=context.cell.crystal,
        protocol=context.protocol,
        n_electrons=context.n_electrons,
        nbnd=step.bands.nbnd,
        n_bands_used=step.n_bands or step.bands.nbnd,
        ecutwfc_ry=ground_state.ecutwfc_ry,
        ranks=context.ranks,
    )
    done, engine = respond(request, context.cancelled)
    return Record(
        step=step,
        done=done,
        usage=engine.usage,
        corrections=tuple(engine.corrections),
        program=engine.version,
        inputs=tuple(engine.inputs),
    )


def _drop_wavefunctions(directory: Path) -> None:
    for path in directory.rglob("*.wfc*"):
        path.unlink()
    for path in directory.rglob("wfc*"):
        path.unlink()
