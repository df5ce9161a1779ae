"""How sure a median is: by bootstrap over the values; pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 2000
# A bootstrap of fewer says nothing.
_FEWEST = 5


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the median by bootstrap over materials, None for fewer than five.

    Percentiles of the medians of 2000 resamples (Efron, Ann. Stat. 7, 1 (1979)), always the same.
    """
    if len(values) < _FEWEST:
        return None
    found = np.asarray(values, dtype=np.float64)
    rows = np.random.default_rng(0).integers(found.size, size=(_RESAMPLES, found.size))
    low, high = np.percentile(np.median(found[rows], axis=1), [2.5, 97.5])
    return float(low), float(high)


def difference_interval(values: Sequence[float], others: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the difference of two medians over the same materials, in the order given.

    As :func:`median_interval`, both medians on the same resampled materials.
    """
    if len(values) < _FEWEST:
        return None
    pair = np.array([values, others], dtype=np.float64)
    rows = np.random.default_rng(0).integers(pair.shape[1], size=(_RESAMPLES, pair.shape[1]))
    medians = np.median(pair[:, rows], axis=2)
    low, high = np.percentile(medians[0] - medians[1], [2.5, 97.5])
    return float(low), float(high)
