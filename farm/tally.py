"""What a farm's results cost, which remedies worked and what stood in the way, summed; pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from farm.errors import StoreError
from farm.job import Outcome, Stage

# The row of the sum over all stages.
ALL_STAGES = "all"

MEASURES = ("cpu_s", "wall_s", "peak_memory_mb", "disk_mb")
# Of these the sum over stages and materials says something, of the others the largest does.
ADDITIVE = frozenset({"cpu_s", "wall_s"})


class Told(NamedTuple):
    """What one result says; ``stages``, ``steps`` and ``corrections`` as JSON, empty where it does not."""

    material: str
    outcome: str
    stages: str
    steps: str
    corrections: str
    diagnosis: str
    advice: str
    reason: str


def tally(results: Iterable[Told]) -> dict[str, Any]:
    """The document of ``farm report --json``.

    Stages come in their order, those that nothing was measured of left out, and last all together.
    Other lists are ordered by what counts most: remedies by how often they were tried, what is not done
    by how many materials it concerns. Raises StoreError where a text is damaged.
    """
    outcomes: Counter[str] = Counter()
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    remedies: dict[tuple[str, str], Counter[bool | None]] = defaultdict(Counter)
    not_done: dict[tuple[str, str], dict[str, Any]] = {}
    for told in results:
        outcomes[told.outcome] += 1
        for stage, costs in _costs(told).items():
            for measure in MEASURES:
                if measure in costs:
                    measured[stage][measure].append(costs[measure])
        for correction in _list(told, told.corrections):
            remedies[correction["diagnosis"], correction["remedy"]][correction.get("worked")] += 1
        if told.outcome != Outcome.DONE:
            ended = not_done.setdefault((told.outcome, told.diagnosis), _ended(told))
            ended["count"] += 1
            ended["advice"] = ended["advice"] or told.advice
    return {
        "results": outcomes.total(),
        "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome},
        "stages": [_stage(stage, measured) for stage in (*Stage, ALL_STAGES) if stage in measured],
        "remedies": [
            _remedy(*key, counts)
            for key, counts in sorted(remedies.items(), key=lambda item: (-item[1].total(), item[0]))
        ],
        "not_done": [
            ended for _, ended in sorted(not_done.items(), key=lambda item: (-item[1]["count"], item[0]))
        ],
    }


def _ended(told: Told) -> dict[str, Any]:
    """Results that end alike; example and reason are of the first of them."""
    return {
        "outcome": told.outcome,
        "diagnosis": told.diagnosis,
        "count": 0,
        "example": told.material,
        "reason": told.reason,
        "advice": told.advice,
    }


def _list(told: Told, text: str) -> list[dict[str, Any]]:
    # Most results have no corrections, and metals by their electron count cost nothing.
    if text in ("", "[]"):
        return []
    try:
        parsed: list[dict[str, Any]] = json.loads(text)
    except ValueError as error:
        fix = "If the store's file was damaged, restore it from a copy; else compute this one again"
        raise StoreError(f"the record of {told.material} is damaged: {error}", fix=fix) from error
    return parsed


def _costs(told: Told) -> dict[str, dict[str, Any]]:
    """Stage -> measure -> value of one result; without disk where its steps are not told."""
    costs = {stage["stage"]: stage for stage in _list(told, told.stages)}
    for step in _list(told, told.steps):
        of_stage = costs.setdefault(step["stage"], {})
        # Between steps wavefunctions are deleted: the sum was never there at one time.
        of_stage["disk_mb"] = max(of_stage.get("disk_mb", 0.0), step["disk_mb"])
    if costs:
        total: dict[str, float] = {}
        for measure in MEASURES:
            values = [of_stage[measure] for of_stage in costs.values() if measure in of_stage]
            if values:
                total[measure] = sum(values) if measure in ADDITIVE else max(values)
        costs[ALL_STAGES] = total
    return costs


def _stage(stage: str, measured: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    document: dict[str, Any] = {"stage": str(stage)}
    for measure in MEASURES:
        values = measured[stage].get(measure)
        if not values:
            document[measure] = None  # no result tells
            continue
        median, p90 = np.percentile(values, (50, 90)).tolist()
        document[measure] = {"results": len(values), "median": median, "p90": p90, "max": max(values)}
        if measure in ADDITIVE:
            whole = sum(measured[ALL_STAGES][measure])
            document[measure] |= {"sum": sum(values), "share": sum(values) / whole if whole else 0.0}
    return document


def _remedy(diagnosis: str, remedy: str, counts: Counter[bool | None]) -> dict[str, Any]:
    known = counts[True] + counts[False]
    return {
        "diagnosis": diagnosis,
        "remedy": remedy,
        "tried": counts.total(),
        "worked": counts[True],
        # In results of older versions.
        "not_known": counts[None],
        "share": counts[True] / known if known else None,
    }
