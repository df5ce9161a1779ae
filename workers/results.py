"""What a job brings back, put together from the records of its steps."""

from __future__ import annotations

from math import prod
from typing import Any

import farm
from farm.job import Engine, Job, Stage
from farm.kpoints import grid_divisions, space_group
from farm.result import Result
from farm.units import RYDBERG_EV
from workers.context import StepContext
from workers.history import (
    BandsDone,
    BandsStep,
    ResponseDone,
    ResponseStep,
    ScfDone,
    SpectraDone,
    SpectraStep,
    StepFailed,
)
from workers.manifest import Record, encode_step
from workers.pipeline import Finished
from workers.pw_steps import BANDS_THRESHOLD_RY, band_kpoints, ground_state_rotations
from workers.responses import judge
from workers.scratch import RESPONSE_FILE
from workers.spectra import ladder_steps, load_band_structure, load_response
from workers.usage import judged_corrections, stage_usages, step_usages


def make_result(job: Job, finished: Finished, context: StepContext | None = None) -> Result:
    """The answer to a job; without a context no step has run."""
    group = space_group(job.crystal)
    found: dict[str, Any] = {}
    if context is not None:
        records = context.workspace.records
        found = {
            "parameters": _parameters(context),
            "programs": _programs(records),
            "stages": stage_usages(records),
            "steps": step_usages(records),
            "corrections": judged_corrections(records),
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
        diagnosis=finished.diagnosis,
        advice=finished.advice,
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
        "ranks": context.ranks,
        "runs": [_run(record) for record in context.workspace.records],
    }
    for record in context.workspace.records:
        step, done = record.step, record.done
        if isinstance(step, BandsStep) and record.inputs and context.engine is Engine.YAMBO:
            # Which k-points were asked for depends on them.
            rotations = ground_state_rotations(step, context)
            parameters["symmorphic_rotations"] = rotations.reshape(-1, 9).tolist()
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
                "n_kpoints": len(band_kpoints(step, context)[0]),
                "nbnd": done.n_bands or step.nbnd,
                "nbnd_computed": step.nbnd,
                "bands_reach_ev": done.top_ev,
                "bands_threshold_ry": BANDS_THRESHOLD_RY,
            }
        elif isinstance(step, SpectraStep) and isinstance(done, SpectraDone):
            parameters |= _reduced_basis_parameters(step, done)
    return parameters


def _run(record: Record) -> dict[str, Any]:
    """All that it takes to do a step again (:mod:`workers.rerun`)."""
    run: dict[str, Any] = {
        "step": encode_step(record.step),
        "inputs": [used.to_dict() for used in record.inputs],
    }
    if isinstance(record.done, StepFailed):
        run["failed"] = True
    if isinstance(record.done, ScfDone):
        run["total_energy_ry"] = record.done.energy_ev / RYDBERG_EV
    return run


def _reduced_basis_parameters(step: SpectraStep, done: SpectraDone) -> dict[str, Any]:
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
    if done.energy_change_ev is not None:
        parameters |= {
            "ground_state_check_kgrid": list(step.check_kgrid or ()),
            "ground_state_energy_change_ev": done.energy_change_ev,
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
            versions["yambo" if isinstance(record.step, ResponseStep) else "pw.x"] = record.program
    return versions
