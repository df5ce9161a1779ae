"""How long a worker may stay, and which jobs fit into what is left; pure.

::

    begin |------------------------------------|---------|-------| end of the walltime
                jobs that end here are begun     nothing   grace
                                                 new       + spare
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from farm.console import duration
from farm.cost_model import CostModel
from farm.cost_prior import CostPrior
from farm.stage import Engine

# From the end of the grace to the batch system's kill: cleaning up, and clocks that differ.
SPARE_S = 10.0
# With less than this left, of a short walltime less than a share of it, nothing new is begun.
_DRAIN_S = 60.0
_DRAIN_SHARE = 0.1
# Wall time around a job's programs: starting, reading and checking, and waiting for each other.
_AROUND_S = 5.0
# A job that was queued without a prior may take so many times what was predicted.
_SAFETY_FACTOR = 2.0

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_IN_UNITS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
# Of batch systems: [[days-]hours:]minutes:seconds.
_CLOCK = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True, kw_only=True)
class Walltime:
    """When a worker has to be gone; seconds of Unix time."""

    begin_s: float
    end_s: float
    grace_s: float

    def left_s(self, now_s: float) -> float:
        """What is left for jobs; then the grace begins."""
        return self.end_s - self.grace_s - SPARE_S - now_s

    def is_over(self, now_s: float) -> bool:
        """Whether the grace has begun."""
        return self.left_s(now_s) <= 0

    def drains(self, now_s: float) -> bool:
        """Whether so little is left that nothing new is begun."""
        return self.left_s(now_s) < min(_DRAIN_S, _DRAIN_SHARE * (self.end_s - self.begin_s))

    def why_not(self, needed_s: float, now_s: float) -> str:
        """Why a job that needs so much wall time should not be begun; empty when it should."""
        if needed_s <= self.left_s(now_s):
            return ""
        return (
            f"leaves in {duration(max(0.0, self.left_s(now_s)))}; the next job needs {duration(needed_s)}"
        )


def needed_wall_s(
    predicted_cpu_s: float, prior: CostPrior | None, model: CostModel | None, engine: Engine, ranks: int
) -> float:
    """Wall time that a job hardly exceeds: the upper end of the predicted interval, on these ranks.

    Only pw.x and YAMBO share their work among ranks. Of our own bands and response one process does all.
    """
    if prior is None:
        return _AROUND_S + _SAFETY_FACTOR * predicted_cpu_s
    predicted = (model or CostModel()).predict(prior)
    parallel = prior.cpu_s[0] if engine is Engine.NATIVE else prior.total_cpu_s
    share = parallel / prior.total_cpu_s
    return _AROUND_S + predicted.high_cpu_s * (1.0 - share + share / ranks)


def why_leave(walltime: Walltime | None, idle_s: float, *, until_idle_s: float | None, now_s: float) -> str:
    """Why a worker wants to leave once its slots are free; empty while it stays."""
    if walltime is not None and walltime.drains(now_s):
        return f"its walltime ends: {duration(max(0.0, walltime.left_s(now_s)))} left for jobs"
    if until_idle_s is not None and idle_s >= until_idle_s:
        return f"had no job for {duration(idle_s)}"
    return ""


def parse_duration_s(text: str) -> float | None:
    """Seconds of ``4h``, ``1d12h``, ``90m``, ``04:00:00``, ``1-12:00:00`` and the like; None of others."""
    text = text.strip()
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds
    parts = _IN_UNITS.fullmatch(text)
    if not text or parts is None:
        return None
    return sum(
        float(part) * unit for part, unit in zip(parts.groups(), _UNITS_S.values(), strict=True) if part
    )


def end_told_s(environment: Mapping[str, str], now_s: float) -> float | None:
    """When the job of a batch system that this is ends, where its variables say so; Unix time.

    Slurm tells the end; Torque the walltime of a job that has just begun.
    """
    try:
        if end := environment.get("SLURM_JOB_END_TIME"):
            return float(end)
        if seconds := environment.get("PBS_WALLTIME"):
            return now_s + float(seconds)
    except ValueError:
        return None
    return None
