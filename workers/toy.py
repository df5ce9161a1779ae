"""One small job through everything a worker does, for `farm doctor --run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from farm.checks import Check
from farm.errors import FarmError
from farm.job import Job, Outcome, Stage
from farm.pseudopotentials import pseudopotential_directory
from farm.result import Result
from workers.compute import compute
from workers.preflight import require_programs
from workers.scratch import failed_directory


def toy_run(job: Job, scratch: Path, on_progress: Callable[[Stage, str], None]) -> Check:
    """Compute a job here and now; what went wrong is a finding, not an error.

    scratch: the job's directory is made in it and removed; a failed job leaves its texts there
    """
    name = f"run of {job.crystal.material_id}"
    try:
        require_programs()
        result = compute(
            job, scratch=scratch, pseudo_dir=pseudopotential_directory(), on_progress=on_progress
        )
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
    return f"done in {result.cpu_s:.1f} CPU s ({stages}), dielectric constant {eps_inf:.2f} in RPA"
