"""The stages of a job and the engines of its last one: words that everything about cost and jobs shares."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """The stages of one job, in order."""

    GROUND_STATE = "ground_state"
    BANDS = "bands"
    RESPONSE = "response"


class Engine(StrEnum):
    """Who computes the response from the bands."""

    NATIVE = "native"
    YAMBO = "yambo"
