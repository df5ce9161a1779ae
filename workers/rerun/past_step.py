"""One step of a stored result."""

from __future__ import annotations

from dataclasses import dataclass

from farm.result import StepUsage
from workers.history import Step
from workers.used_inputs import UsedInput


@dataclass(frozen=True, kw_only=True)
class PastStep:
    """One step.

    inputs:   of all its attempts
    recorded: ``inputs`` are those that ran; else they have to be put together
    failed:   it was given up
    usage:    what it cost; None: not known
    total_energy_ry: of the cell, where the step has found one and it is recorded
    """

    step: Step
    inputs: tuple[UsedInput, ...] = ()
    recorded: bool = False
    failed: bool = False
    usage: StepUsage | None = None
    total_energy_ry: float | None = None
