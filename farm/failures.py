"""Materials of a store that ended neither done nor as metals: what went wrong, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farm.job import Outcome
from farm.store import Store, open_store

# Results of older versions do not name it.
UNNAMED = "not named"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One material that is not done.

    row:       its row of the store
    diagnosis: what went wrong, in one word
    reason:    in one sentence
    advice:    what to do, where something is known
    """

    row: int
    material_id: str
    formula: str
    outcome: Outcome
    diagnosis: str
    reason: str
    advice: str


def failures(store: Store) -> list[Failure]:
    """All that are not done, in order of arrival. Raises StoreError for damaged texts."""
    rows = np.sort(
        np.concatenate([store.select(outcome=each) for each in (Outcome.FAILED, Outcome.UNCONVERGED)])
    )
    indices = store.indices()
    at = np.searchsorted(indices, rows)
    materials, formulas, outcomes = (
        store.column(name)[at] for name in ("material_id", "formula", "outcome")
    )
    texts = store.texts_of(rows.tolist(), "diagnosis", "reason", "advice")
    return [
        Failure(
            row=int(row),
            material_id=material.decode(),
            formula=formula.decode(),
            outcome=Outcome(outcome.decode()),
            diagnosis=diagnosis or UNNAMED,
            reason=reason,
            advice=advice,
        )
        for row, material, formula, outcome, (diagnosis, reason, advice) in zip(
            rows, materials, formulas, outcomes, texts, strict=True
        )
    ]


def by_diagnosis(found: Iterable[Failure]) -> dict[str, int]:
    """How many of each diagnosis, the most frequent first."""
    return dict(Counter(failure.diagnosis for failure in found).most_common())


def count_failures(store_path: Path) -> dict[str, int]:
    """:func:`by_diagnosis` of a store; empty where there is none yet."""
    if not store_path.is_file():
        return {}
    with open_store(store_path) as store:
        return by_diagnosis(failures(store))
