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
    usage:    what the result says of it; None: nothing
    total_energy_ry: of the cell, where the step has found one and it is recorded
    """

    step: Step
    inputs: tuple[UsedInput, ...] = ()
    recorded: bool = False
    usage: StepUsage | None = None
    total_energy_ry: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it was given up."""
        return self.usage is not None and self.usage.outcome == "failed"
