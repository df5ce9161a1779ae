"""One job to one result: ground state, bands, response, in a scratch directory of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import farm
from farm.compact_cell import compact_cell
from farm.errors import LeaseLostError, MissingProgramError, ProtocolError
from farm.job import Engine, Job, Outcome, Stage
from farm.kpoints import grid_divisions, space_group
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons
from farm.result import Result, StageUsage
from workers.history import BandsDone, BandsStep, ResponseDone, SpectraDone, SpectraStep, StepFailed
from workers.launcher import Usage
from workers.manifest import Record, completed
from workers.pipeline import Finished, make_plan, next_step
from workers.pseudos import checked_pseudopotentials
from workers.responses import judge
from workers.scratch import RESPONSE_FILE, failed_directory, open_workspace
from workers.spectra import ladder_steps, load_band_structure, load_response
from workers.steps import BANDS_THRESHOLD_RY, StepContext, response_kpoints, run_step

PSEUDO_LINK = "pseudo"


def _silent(stage: Stage, text: str) -> None:
    """Progress that nobody reads."""


def compute(
    job: Job,
    *,
    scratch: Path,
    pseudo_dir: Path,
    on_progress: Callable[[Stage, str], None] = _silent,
    cancelled: threading.Event | None = None,
    ranks: int = 1,
) -> Result:
    """Run a job to its result; a calculation that fails is a result, not an error.

    scratch:     ``<scratch>/<job_id>/`` is made, resumed after a kill, and removed
    pseudo_dir:  folder of the UPF files
    on_progress: called before each step, from this thread
    cancelled:   set by another thread to stop: all processes are killed first
    ranks:       MPI ranks of pw.x; one runs it directly

    Raises CrystalError (an element without a pseudopotential), ProtocolError (a protocol that is not
    what its hash says), MissingProgramError, ResourceError (the machine's fault: give the job back
    uncounted) and LeaseLostError (cancelled).
    """
    protocol = Protocol.from_dict(dict(job.protocol), origin=job.crystal.material_id)
    if protocol.hash != job.protocol_hash:
        raise ProtocolError(
            "the job's protocol is not the one its hash names", fix="Seed the material again"
        )
    if job.engine is not Engine.NATIVE:
        raise MissingProgramError(f"this worker has no {job.engine.value} engine")
    n_electrons = count_electrons(job.crystal)
    if n_electrons % 2:
        return _result(
            job,
            Finished(outcome=Outcome.METAL, reason=f"odd electron count {n_electrons}: not an insulator"),
        )
    pseudo_files = checked_pseudopotentials(job.crystal.elements, pseudo_dir)
    with open_workspace(scratch, job.job_id) as workspace:
        # A link of fixed name keeps inputs free of this machine's paths and their length limits.
        link = workspace.directory / PSEUDO_LINK
        link.unlink(missing_ok=True)
        link.symlink_to(pseudo_dir.resolve(), target_is_directory=True)
        context = StepContext(
            crystal=job.crystal,
            cell=compact_cell(job.crystal),
            protocol=protocol,
            n_electrons=n_electrons,
            pseudo_files=pseudo_files,
            workspace=workspace,
            cancelled=cancelled or threading.Event(),
            ranks=ranks,
        )
        finished = _run(context, on_progress)
        if finished.outcome is Outcome.FAILED:
            workspace.keep_texts(failed_directory(scratch, job.job_id))
        return _result(job, finished, context)


def _run(context: StepContext, on_progress: Callable[[Stage, str], None]) -> Finished:
    workspace = context.workspace
    plan = make_plan(context.cell.crystal, context.protocol, context.n_electrons)
    while True:
        step = next_step(completed(workspace.records), plan)
        if isinstance(step, Finished):
            return step
        if context.cancelled.is_set():
            raise LeaseLostError("stopped: the job is no longer this worker's")
        on_progress(step.stage, step.name)
        if isinstance(step, BandsStep):
            # Bands that fell short are not needed again, and are the largest files there are.
            workspace.drop_wavefunctions()
        workspace.append(run_step(step, context))


def _result(job: Job, finished: Finished, context: StepContext | None = None) -> Result:
    group = space_group(job.crystal)
    found: dict[str, Any] = {}
    if context is not None:
        records = context.workspace.records
        found = {
            "parameters": _parameters(context),
            "programs": _programs(records),
            "stages": _stages(records),
            "corrections": tuple(c for record in records for c in record.corrections),
            **_bands(records),
            **_spectra(context),
        }
    return Result(
        crystal=job.crystal,
        protocol=dict(job.protocol),
        protocol_hash=job.protocol_hash,
        engine=job.engine,
        outcome=finished.outcome,
        reason=finished.reason,
        space_group=group.symbol,
        **found,
    )


def _bands(records: list[Record]) -> dict[str, float]:
    done = _bands_done(records)
    if done is None:
        return {}
    return {"gap_indirect_ev": done.gap_indirect_ev, "gap_direct_ev": done.gap_direct_ev}


def _bands_done(records: list[Record]) -> BandsDone | None:
    """Of the last step that made bands, in either way."""
    for record in reversed(records):
        if isinstance(record.done, BandsDone):
            return record.done
        if isinstance(record.done, SpectraDone):
            return record.done.bands
    return None


def _spectra(context: StepContext) -> dict[str, Any]:
    record = context.workspace.records[-1] if context.workspace.records else None
    done = None if record is None else record.done
    if record is None or not isinstance(done, ResponseDone | SpectraDone):
        return {}
    path = context.workspace.step_directory(record.step) / RESPONSE_FILE
    found: dict[str, Any] = {}
    if isinstance(done, SpectraDone):
        found["band_structure"] = load_band_structure(path, context.cell)
    response = done.response if isinstance(done, SpectraDone) else done
    if response is not None:
        data = load_response(path)
        verdict = judge(data, context.protocol)
        found["ladder"] = ladder_steps(data, verdict.step_similarity, verdict.converged_gmax_mry)
        found["gmax_converged_mry"] = response.converged_gmax_mry
    return found


def _parameters(context: StepContext) -> dict[str, Any]:
    """What was really used, under names that carry their units."""
    crystal, protocol = context.crystal, context.protocol
    divisions = grid_divisions(crystal, protocol.response_kppa, even=True)
    parameters: dict[str, Any] = {
        "n_electrons": context.n_electrons,
        # Rows: vectors of the cell that was computed, in those of the crystal's.
        "computed_cell": context.cell.basis.tolist(),
        "response_kgrid": list(divisions),
        "response_kshift": list(protocol.response_kshift),
        "n_kpoints_full": prod(divisions),
        "ground_state_runs": sum(
            1 for r in context.workspace.records if r.step.stage is Stage.GROUND_STATE
        ),
    }
    for record in context.workspace.records:
        step, done = record.step, record.done
        if isinstance(done, StepFailed) or not isinstance(step, BandsStep | SpectraStep):
            continue
        cutoff = step.ground_state.ecutwfc_ry
        parameters |= {
            "ecutwfc_ry": cutoff,
            "ecutrho_ry": protocol.ecutrho_per_ecutwfc * cutoff,
            "ground_state_kgrid": list(step.ground_state.kgrid),
        }
        if isinstance(step, BandsStep) and isinstance(done, BandsDone):
            parameters |= {
                "bands": "nscf",
                "n_kpoints": len(response_kpoints(crystal, protocol)[0]),
                "nbnd": step.nbnd,
                "bands_reach_ev": done.top_ev,
                "bands_threshold_ry": BANDS_THRESHOLD_RY,
            }
        elif isinstance(done, SpectraDone):
            parameters |= _reduced_basis_parameters(done)
    return parameters


def _reduced_basis_parameters(done: SpectraDone) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "bands": "reduced-basis",
        "response_kgrid": list(done.kgrids[-1]),
        "n_kpoints_full": prod(done.kgrids[-1]),
        "n_kpoints": done.n_kpoints,
        "nbnd": done.nbnd,
        "bands_reach_ev": done.bands.top_ev,
        "bands_error_window_ev": done.accuracy.window_error_mev / 1000,
        "bands_error_top_ev": done.accuracy.top_error_mev / 1000,
        "bands_error_pw_ev": done.accuracy.pw_error_mev / 1000,
        "reduced_basis_size": done.accuracy.n_functions,
        "reduced_basis_samples": done.accuracy.n_samples,
    }
    if done.kgrid_similarity is not None:
        parameters |= {
            "kgrids": [list(grid) for grid in done.kgrids],
            "kgrid_similarity": list(done.kgrid_similarity),
        }
    return parameters


def _programs(records: list[Record]) -> dict[str, str]:
    versions = {"farm": farm.__version__}
    for record in records:
        if record.program:
            versions["pw.x"] = record.program
    return versions


def _stages(records: list[Record]) -> tuple[StageUsage, ...]:
    totals: dict[Stage, Usage] = {}
    for record in records:
        for stage, usage in _by_stage(record):
            totals[stage] = totals.get(stage, Usage()) + usage
    return tuple(
        StageUsage(stage=stage, cpu_s=u.cpu_s, wall_s=u.wall_s, peak_memory_mb=u.peak_memory_mb)
        for stage, u in totals.items()
    )


def _by_stage(record: Record) -> list[tuple[Stage, Usage]]:
    done, usage = record.done, record.usage
    if not isinstance(done, SpectraDone) or not usage.cpu_s:
        return [(record.step.stage, usage)]
    # One process makes bands and response; it has told how much of its time went into the bands.
    share = min(1.0, done.bands_cpu_s / usage.cpu_s)
    parts = ((Stage.BANDS, share), (Stage.RESPONSE, 1 - share))
    return [
        (stage, replace(usage, cpu_s=part * usage.cpu_s, wall_s=part * usage.wall_s))
        for stage, part in parts
    ]
