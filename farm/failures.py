"""How many materials of a store are neither done nor metals, by what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from farm.job import Outcome
from farm.store import open_store

NOT_DONE = (Outcome.FAILED, Outcome.UNCONVERGED)
# Results of older versions do not name it.
UNNAMED = "not named"


def by_diagnosis(diagnoses: Iterable[str]) -> dict[str, int]:
    """How many of each, the most frequent first; empty ones as UNNAMED."""
    return dict(Counter(diagnosis or UNNAMED for diagnosis in diagnoses).most_common())


def count_failures(store_path: Path) -> dict[str, int]:
    """:func:`by_diagnosis` of a store's current rows; empty where there is none yet.

    Raises StoreError for a store that cannot be read.
    """
    if not store_path.is_file():
        return {}
    with open_store(store_path) as store:
        rows = np.concatenate([store.select(outcome=outcome) for outcome in NOT_DONE])
        return by_diagnosis(diagnosis for (diagnosis,) in store.texts_of(rows.tolist(), "diagnosis"))
