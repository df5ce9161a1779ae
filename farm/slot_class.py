"""Classes of worker slots by memory: which jobs a slot may take, and on how many ranks they run.

The class of a job follows from its predicted peak memory; a job that ran out of memory goes to the next
larger class. A slot serves every class whose bound it holds, and small jobs always.
"""

from __future__ import annotations

import math
from enum import StrEnum

# A prediction is exceeded by half where it is wrong (see the memory table of benchmarks/cost_model.py):
# a job must fit its class at this multiple of what is predicted.
SAFETY_FACTOR = 1.5


class SlotClass(StrEnum):
    """How much memory a job may take, smallest first."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    HUGE = "huge"

    @property
    def memory_mb(self) -> float:
        """The most memory a job of this class takes, MB; infinite for the last."""
        return _MEMORY_MB[self]

    @property
    def ranks(self) -> int:
        """MPI ranks recommended for the programs of such a job."""
        return _RANKS[self]

    def larger(self) -> SlotClass | None:
        """The next class, where a job goes that ran out of memory; None after the last."""
        classes = list(SlotClass)
        place = classes.index(self) + 1
        return classes[place] if place < len(classes) else None


_MEMORY_MB = {
    SlotClass.SMALL: 2_000.0,
    SlotClass.MEDIUM: 8_000.0,
    SlotClass.LARGE: 32_000.0,
    SlotClass.HUGE: math.inf,
}
_RANKS = {SlotClass.SMALL: 1, SlotClass.MEDIUM: 1, SlotClass.LARGE: 4, SlotClass.HUGE: 8}


def slot_class(memory_mb: float) -> SlotClass:
    """The smallest class that holds a predicted peak of ``memory_mb`` times :data:`SAFETY_FACTOR`."""
    needed_mb = SAFETY_FACTOR * memory_mb
    return next(each for each in SlotClass if needed_mb <= each.memory_mb)


def served_by(slot_memory_mb: float) -> frozenset[SlotClass]:
    """The classes a slot of this memory takes jobs of.

    Small ones always, even from a slot below the bound of that class: someone must. Huge ones, which
    have no bound, from a slot that has more than the class before asks for.
    """
    bounded = {each for each in SlotClass if each.memory_mb <= slot_memory_mb}
    huge = {SlotClass.HUGE} if slot_memory_mb > SlotClass.LARGE.memory_mb else set()
    return frozenset({SlotClass.SMALL} | bounded | huge)
