"""What the steps of a job cost, by step and by stage, and which corrections helped; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farm.job import Stage
from farm.result import Correction, StageUsage, StepUsage
from workers.history import BandsStep, PotentialStep, SpectraDone, SpectraStep, StepFailed
from workers.launcher import Usage
from workers.manifest import Record


def step_usages(records: Sequence[Record]) -> tuple[StepUsage, ...]:
    """What each step cost, in the order in which they ran."""
    return tuple(
        StepUsage(
            name=record.step.name,
            stage=record.step.stage,
            outcome="failed" if isinstance(record.done, StepFailed) else "ok",
            attempts=record.usage.attempts,
            cpu_s=record.usage.cpu_s,
            wall_s=record.usage.wall_s,
            peak_memory_mb=record.usage.peak_memory_mb,
            disk_mb=record.usage.disk_mb,
        )
        for record in records
    )


def stage_usages(records: Sequence[Record]) -> tuple[StageUsage, ...]:
    """What each stage cost, in the order in which they began."""
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


def judged_corrections(records: Sequence[Record]) -> tuple[Correction, ...]:
    """All corrections, each with whether it worked.

    Of the remedies of one step the last before a good output did, those before it did not; none of a step
    that was given up. What replaces a failed step by another way worked when that way's bands are good.
    """
    judged: list[Correction] = []
    for i, record in enumerate(records):
        if not record.corrections:
            continue
        *earlier, last = record.corrections
        judged += [replace(correction, worked=False) for correction in earlier]
        judged.append(replace(last, worked=_last_worked(record, records[i + 1 :])))
    return tuple(judged)


def _last_worked(record: Record, later: Sequence[Record]) -> bool | None:
    if not isinstance(record.done, StepFailed):
        return True
    if not isinstance(record.step, PotentialStep | SpectraStep):
        return False
    # These fail once and for all: their last correction is the other way, steps of its own.
    good = [not isinstance(r.done, StepFailed) for r in later if isinstance(r.step, BandsStep)]
    return any(good) if good else None
