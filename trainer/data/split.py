"""Which materials a model may learn from: a split by composition that leaks nothing.

Polymorphs and supercells of one composition have similar spectra, so all structures of a reduced
composition (elements and their ratios) stand on the same side. By the rule alone the side depends on the
composition, never on what else the store holds: a composition once held out stays held out. Lists in a
file (trainer.data.split_file) come before the rule.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import ceil, gcd
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """A hash of the composition under ``salt`` below ``held_out_share`` means held out.

    The salt was chosen so that of the 20 bundled crystals, with which most farms start, a fifth is
    held out, and of every sort one: Si, BP, BeO and CaF2. It was chosen by that alone, before any
    model was fitted. Changing it makes earlier checkpoints incomparable: they have seen some of
    what is then held out.

    held_out_compositions:   held out whatever the hash says; before the other lists
    validation_compositions: stop the training early; before those to train on
    train_compositions:      to learn from
    """

    salt: str = "held-out-3"
    held_out_share: float = 0.2
    validation_share: float = 0.125
    held_out_compositions: tuple[str, ...] = ()
    validation_compositions: tuple[str, ...] = ()
    train_compositions: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """That of a card's ``split``, which holds more; cards older than the lists have none of them."""
        known: dict[str, Any] = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
        return cls(**{**known, **lists})

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what decides the side of a composition.

        Of the lists those that the hash of the composition alone would put on the other side: with lists
        that change nothing it is that of the rule alone, and no list of it depends on their order.
        """
        moved_out = sorted(key for key in self._held_out if not self._is_hashed_out(key))
        moved_in = sorted(key for key in self._learning - self._held_out if self._is_hashed_out(key))
        decides = [
            self.salt,
            self.held_out_share,
            *([moved_out, moved_in] if moved_out or moved_in else []),
        ]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    def is_held_out(self, composition: str) -> bool:
        """True when no model may learn from this composition."""
        if composition in self._held_out:
            return True
        return composition not in self._learning and self._is_hashed_out(composition)

    def _is_hashed_out(self, composition: str) -> bool:
        return _fraction(self.salt, composition) < self.held_out_share

    @cached_property
    def _held_out(self) -> frozenset[str]:
        return frozenset(self.held_out_compositions)

    @cached_property
    def _learning(self) -> frozenset[str]:
        return frozenset(self.validation_compositions) | frozenset(self.train_compositions)


DEFAULT_RULE = SplitRule()


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts, ascending int64; no composition is in two of them."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @property
    def n_learning(self) -> int:
        """Rows that the model may see, in training or to stop early."""
        return self.train.size + self.validation.size


def composition_key(crystal: Crystal) -> str:
    """Elements in alphabetical order with reduced counts: ``Mg1O1`` for MgO and Mg2O2."""
    counts = Counter(crystal.species)
    divisor = gcd(*counts.values())
    return "".join(f"{symbol}{counts[symbol] // divisor}" for symbol in sorted(counts))


def split_crystals(crystals: Sequence[Crystal], rule: SplitRule = DEFAULT_RULE) -> Split:
    """Row numbers by part.

    Of the learning side the compositions lowest in a second hash stop the training early: an eighth,
    at least one where there are two. That part may change as the store grows, the held-out not. Where the
    rule lists some that stop it, these do, and an eighth of those that no list names.
    """
    keys = [composition_key(crystal) for crystal in crystals]
    learning = {key for key in keys if not rule.is_held_out(key)}
    validation = learning.intersection(rule.validation_compositions)
    # Without any of the listed ones at hand somebody else has to say when to stop.
    unlisted = learning - validation
    if validation:
        unlisted = unlisted.difference(rule.train_compositions)
    validation |= set(validation_part(unlisted, rule))
    parts = [
        "held_out" if rule.is_held_out(key) else "validation" if key in validation else "train"
        for key in keys
    ]
    rows = {
        part: np.flatnonzero([p == part for p in parts]) for part in ("train", "validation", "held_out")
    }
    return Split(**rows)


def validation_part(compositions: Collection[str], rule: SplitRule) -> list[str]:
    """The share of compositions lowest in the second hash: an eighth, at least one of two or more."""
    ordered = sorted(compositions, key=lambda key: _fraction(rule.salt + "/validation", key))
    return ordered[: ceil(rule.validation_share * len(ordered)) if len(ordered) > 1 else 0]


def _fraction(salt: str, composition: str) -> float:
    digest = hashlib.sha256(f"{salt}:{composition}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
