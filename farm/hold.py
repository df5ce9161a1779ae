"""Why a worker takes no jobs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hold:
    """The reason, in words.

    is_leaving: it is no trouble: its time here ends, or it was told to go
    """

    reason: str
    is_leaving: bool = False
