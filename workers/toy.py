"""One small job through everything a worker does, for `farm doctor --run`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from farm.checks import Check
from farm.errors import FarmError, MissingProgramError
from farm.job import Engine, Job, Outcome, Stage
from farm.protocol import Protocol
from farm.pseudopotentials import pseudopotential_directory
from farm.result import Result
from workers.compute import compute
from workers.preflight import missing_programs, require_programs
from workers.scratch import failed_directory
from workers.yambo.failures import VERSION_MISMATCH

_YAMBO_RUN = "run with yambo"
# On the toy's grid it differs from our solver's by a tenth, which is nothing to mend.
_YAMBO_REMARK = " (of fewer k-points: on so coarse a grid yambo takes some for one)"

Tell = Callable[[Stage, str], None]


def toy_run(job: Job, scratch: Path, on_progress: Tell) -> list[Check]:
    """Compute a job here and now, and with YAMBO where that is; what went wrong is a finding, not an error.

    scratch: the job's directory is made in it and removed; a failed job leaves its texts there
    """
    return [_run(job, scratch, on_progress), _run_by_yambo(job, scratch, on_progress)]


def _run_by_yambo(job: Job, scratch: Path, on_progress: Tell) -> Check:
    if absent := missing_programs(Engine.YAMBO):
        detail = f"not done: {', '.join(absent)} not on PATH"
        return Check(name=_YAMBO_RUN, ok=False, detail=detail, required=False)
    protocol = Protocol.from_dict({**job.protocol, "bands": "nscf", "kgrid": "published"})
    by_yambo = replace(job, protocol=protocol.to_dict(), protocol_hash=protocol.hash, engine=Engine.YAMBO)
    return _run(by_yambo, scratch, on_progress)


def _run(job: Job, scratch: Path, on_progress: Tell) -> Check:
    name = _YAMBO_RUN if job.engine is Engine.YAMBO else f"run of {job.crystal.material_id}"
    try:
        require_programs()
        result = compute(
            job, scratch=scratch, pseudo_dir=pseudopotential_directory(), on_progress=on_progress
        )
    except MissingProgramError as error:
        if VERSION_MISMATCH not in error.message:
            return Check(name=name, ok=False, detail=error.message, fix=error.fix)
        # Every job with this engine would be given back like this one.
        detail = f"{shutil.which('p2y')} does not read what pw.x writes: {error.message}"
        return Check(name="p2y and pw.x", ok=False, detail=detail, fix=error.fix)
    except FarmError as error:
        return Check(name=name, ok=False, detail=error.message, fix=error.fix)
    if result.outcome is not Outcome.DONE or result.rpa is None:
        texts = failed_directory(scratch, job.job_id)
        return Check(
            name=name,
            ok=False,
            detail=f"{result.outcome.value} after {result.cpu_s:.1f} CPU s: {result.reason}",
            fix=f"Read what the programs say in {texts}" if texts.is_dir() else "",
        )
    return Check(name=name, ok=True, detail=_summary(result, result.rpa.eps_inf))


def _summary(result: Result, eps_inf: float) -> str:
    stages = ", ".join(f"{stage.stage.value} {stage.cpu_s:.1f}" for stage in result.stages)
    remark = _YAMBO_REMARK if result.engine is Engine.YAMBO else ""
    return f"done in {result.cpu_s:.1f} CPU s ({stages}), dielectric constant {eps_inf:.2f} in RPA{remark}"
