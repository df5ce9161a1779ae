"""The rungs that a job can climb to, and what says how far one has to: pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farm.crystal import Crystal


class Rung(StrEnum):
    """IPA: the response without local fields; RPA: with them, and IPA before it."""

    IPA = "ipa"
    RPA = "rpa"


@dataclass(frozen=True, kw_only=True)
class RungChoice:
    """How far one crystal has to be computed.

    reason:               one of few sentences: crystals are counted by it
    predicted_similarity: SC[RPA;IPA] of Im eps; None where nothing predicts it
    """

    rung: Rung
    reason: str
    predicted_similarity: float | None = None


# Decides for crystals, in their order.
RungChooser = Callable[[Sequence[Crystal]], list[RungChoice]]
