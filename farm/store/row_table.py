"""The table of rows in memory: which of them count, and which fulfil conditions; pure."""

from __future__ import annotations

import hashlib
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from farm.job import Engine, Outcome
from farm.store.gathering import n_distinct
from farm.store.layout import ROW_DTYPE
from farm.store.record import Key
from farm.store.row import StoreCounts

_KEY = ("material_id", "protocol_hash", "engine")


class Conditions(TypedDict, total=False):
    """What rows have to be; None: anything."""

    material_id: str | None
    protocol_hash: str | None
    engine: Engine | None
    outcome: Outcome | None
    has_ipa: bool
    has_rpa: bool
    max_atoms: int


class RowTable:
    """Rows in the order of arrival. Of those with the same (material, protocol, engine) the newest counts.

    rows:   elements of ROW_DTYPE
    counts: of each, whether it does
    """

    def __init__(self) -> None:
        self.rows: NDArray[np.void] = np.zeros(0, dtype=ROW_DTYPE)
        self.counts: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._newest: dict[tuple[bytes, bytes, bytes], int] = {}

    def __len__(self) -> int:
        return int(self.rows.size)

    def add(self, fresh: NDArray[np.void], *, says_replaced: bool) -> None:
        """Take in the rows that follow; ``says_replaced``: they know which rows they replace."""
        if not says_replaced:
            fresh["replaces"] = self._replaced_by(fresh)
        self.rows = np.concatenate([self.rows, fresh]) if len(self) else fresh
        self.counts = np.concatenate([self.counts, np.ones(fresh.size, dtype=np.bool_)])
        self.counts[fresh["replaces"][fresh["replaces"] >= 0]] = False

    def indices(self) -> NDArray[np.int64]:
        """The rows that count."""
        return np.flatnonzero(self.counts)

    def column(self, name: str) -> NDArray[Any]:
        """One field of those that count."""
        return np.asarray(self.rows[name][self.counts])

    def select(self, **conditions: Unpack[Conditions]) -> NDArray[np.int64]:
        """The rows that count and fulfil all conditions given."""
        chosen = self.counts.copy()
        for name, wanted in conditions.items():
            if name == "max_atoms":
                chosen &= self.rows["n_atoms"] <= wanted
            elif wanted is not None:
                chosen &= self.rows[name] == (wanted.encode() if isinstance(wanted, str) else wanted)
        return np.flatnonzero(chosen)

    def store_counts(self) -> StoreCounts:
        """Distinct materials and spectra, of the rows that count."""
        n_ipa, n_rpa = (int((self.rows[name] & self.counts).sum()) for name in ("has_ipa", "has_rpa"))
        return StoreCounts(n_distinct(self.column("material_id")), n_ipa, n_rpa)

    def keys(self) -> set[Key]:
        """Of the rows that count."""
        columns = (self.column(name).tolist() for name in _KEY)
        return {(m.decode(), p.decode(), e.decode()) for m, p, e in zip(*columns, strict=True)}

    def content_hash(self, before: bytes) -> str:
        """SHA-256 over ``before`` and the keys and checksums of the rows that count, in any order."""
        digest = hashlib.sha256(before)
        columns = (self.column(name).tolist() for name in (*_KEY, "crc32"))
        for *key, crc32 in sorted(zip(*columns, strict=True)):
            digest.update(b"\0".join((*key, str(crc32).encode())) + b"\n")
        return digest.hexdigest()

    def _replaced_by(self, fresh: NDArray[np.void]) -> list[int]:
        """What older layouts do not say: the row that each of ``fresh`` replaces; -1: none."""
        replaced = []
        keys = zip(*(fresh[name].tolist() for name in _KEY), strict=True)
        for index, key in enumerate(keys, start=len(self)):
            replaced.append(self._newest.get(key, -1))
            self._newest[key] = index
        return replaced
