"""Cross-validation by composition: every material to learn from is measured once, by a fit that has not
seen its composition. What the rule holds out stays out of it all."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import InputError
from trainer.data.split import DEFAULT_RULE, Split, SplitRule, composition_key, validation_part


def assign_folds(
    crystals: Sequence[Crystal], n_folds: int, *, rule: SplitRule = DEFAULT_RULE, seed: int = 0
) -> dict[str, int]:
    """The fold, from 0, of each composition that may be learnt from.

    In an order drawn by a hash with ``seed`` each composition goes to the fold that has fewest materials,
    so that folds differ by no more than the largest number of polymorphs. Raises InputError for fewer
    compositions than folds, and for fewer than two folds.
    """
    if n_folds < 2:
        raise InputError(
            f"{n_folds} folds: nothing is measured on what was not learnt", fix="Use 2 or more"
        )
    keys = [composition_key(crystal) for crystal in crystals]
    counts = Counter(key for key in keys if not rule.is_held_out(key))
    if len(counts) < n_folds:
        raise InputError(
            f"{len(counts)} compositions to learn from cannot be parted into {n_folds} folds",
            fix="Ask for fewer folds, or let the farm compute more",
        )
    sizes = [0] * n_folds
    folds = {}
    for key in sorted(counts, key=lambda key: hashlib.sha256(f"fold {seed}:{key}".encode()).digest()):
        folds[key] = sizes.index(min(sizes))
        sizes[folds[key]] += counts[key]
    return folds


def fold_split(
    crystals: Sequence[Crystal], folds: Mapping[str, int], number: int, *, rule: SplitRule = DEFAULT_RULE
) -> Split:
    """Fold ``number`` is measured on, ``held_out`` of the Split; an eighth of the rest stops the fit early.

    Compositions in no fold, which are never measured, are learnt from in all of them; those that the rule
    holds out are in no part.
    """
    keys = [composition_key(crystal) for crystal in crystals]
    rest = {key for key in keys if folds.get(key) != number and not rule.is_held_out(key)}
    validation = set(validation_part(rest, rule))

    def rows(wanted: set[str]) -> NDArray[np.int64]:
        return np.flatnonzero([key in wanted for key in keys])

    measured = {key for key in keys if folds.get(key) == number}
    return Split(rows(rest - validation), rows(validation), rows(measured))


def mean_and_spread(
    records: Sequence[Mapping[str, float]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and sample standard deviation of each number over the folds. All have the same names."""
    mean = {name: fmean(record[name] for record in records) for name in records[0]}
    spread = {name: stdev(record[name] for record in records) for name in records[0]}
    return mean, spread
