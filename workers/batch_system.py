"""What the batch system says of the job that a worker runs in."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from workers.walltime import end_told_s, parse_duration_s

_PATIENCE_S = 20.0


def end_of_job_s(environment: Mapping[str, str], now_s: float) -> float | None:
    """When this job ends, Unix time; None outside of a batch job, and where it has no end."""
    told = end_told_s(environment, now_s)
    job = environment.get("SLURM_JOB_ID")
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        # One element of an array has its number for an id, which stands for all of them.
        job = f"{array}_{environment.get('SLURM_ARRAY_TASK_ID')}"
    if told is not None or job is None:
        return told
    left = _ask(["squeue", "--noheader", f"--job={job}", "--format=%L"], environment)
    left_s = parse_duration_s(left)  # None of "UNLIMITED"
    return None if left_s is None else now_s + left_s


def _ask(argv: list[str], environment: Mapping[str, str]) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 - our own argv
            argv, env=dict(environment), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
