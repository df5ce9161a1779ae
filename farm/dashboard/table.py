"""The materials of a store in arrays, searched and sorted in milliseconds; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from farm.crystal import elements_of
from farm.dashboard.query import LONGEST_TEXT, SORTABLE, Query

if TYPE_CHECKING:
    import pandas as pd

Positions = NDArray[np.intp]
_Mask = NDArray[np.bool_]

_NUMBERS = (
    "n_atoms",
    "gap_indirect_ev",
    "gap_direct_ev",
    "eps_inf_ipa",
    "eps_inf_rpa",
    "similarity_rpa_ipa",
    "cpu_s",
)


class Table:
    """Rows by position: 0 is the first that arrived. Nothing changes once it is made."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = columns
        self._formulas, formula_codes = np.unique(columns["formula"], return_inverse=True)
        self._formula_codes = formula_codes.reshape(-1)
        self._orders: dict[str, Positions] = {}

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Self:
        """From the frame of a snapshot."""
        columns: dict[str, NDArray[Any]] = {
            name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in _NUMBERS
        }
        for name in ("material_id", "formula", "space_group", "outcome", "engine", "protocol_hash"):
            columns[name] = _texts(frame[name].astype("string"))
        columns["diagnosis"] = _texts(frame["diagnosis"])
        columns["physics_changed"] = frame["physics_changed"].to_numpy(dtype=np.bool_)
        columns["stored_utc"] = np.arange(len(frame))
        return cls(columns)

    def __len__(self) -> int:
        return int(self._columns["outcome"].size)

    def prepare(self) -> None:
        """Make now what would be made when it is first asked for: then somebody waits."""
        for name in SORTABLE:
            self._order(name)
        _ = self.protocols, self.repeated, self._lines, self._elements

    def select(self, query: Query) -> Positions:
        """The rows that meet a query, in its order; those that do not say what is sorted by come last."""
        if query.sort:
            order = self._backwards(query.sort) if query.descending else self._order(query.sort)
        else:
            order = self._backwards("stored_utc")
        mask = self._mask(query)
        return order if mask is None else order[mask[order]]

    @property
    def material_ids(self) -> NDArray[np.str_]:
        """Of all rows, by position."""
        return self._columns["material_id"]

    @cached_property
    def protocols(self) -> dict[str, int]:
        """Hashes of the protocols, the most frequent first, with their numbers of rows."""
        found, counts = np.unique(self._columns["protocol_hash"], return_counts=True)
        return {str(found[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")}

    @cached_property
    def repeated(self) -> frozenset[str]:
        """Materials with more than one row: of several protocols or engines."""
        found, counts = np.unique(self._columns["material_id"], return_counts=True)
        return frozenset(found[counts > 1].tolist())

    def _order(self, column: str) -> Positions:
        """Ascending, equal ones as they arrived, what is not known last; made when first asked for."""
        if column not in self._orders:
            # Sorting puts NaN last, and empty texts first.
            order = np.argsort(self._columns[column], kind="stable")
            n_empty = order.size - self._n_known(column) if self._columns[column].dtype.kind == "U" else 0
            self._orders[column] = np.concatenate([order[n_empty:], order[:n_empty]])
        return self._orders[column]

    def _backwards(self, column: str) -> Positions:
        """Descending; what is not known stays at the end."""
        order, n_known = self._order(column), self._n_known(column)
        return np.concatenate([order[:n_known][::-1], order[n_known:]])

    def _n_known(self, column: str) -> int:
        """How many rows say it."""
        values = self._columns[column]
        if values.dtype.kind == "f":
            return int(np.count_nonzero(~np.isnan(values)))
        return int(np.count_nonzero(values != "")) if values.dtype.kind == "U" else values.size

    def _mask(self, query: Query) -> _Mask | None:
        """None: all rows."""
        masks = [*self._equal(query), *self._within(query), *self._searched(query)]
        if not masks:
            return None
        return np.asarray(np.logical_and.reduce(masks), dtype=np.bool_)

    def _equal(self, query: Query) -> list[_Mask]:
        columns = self._columns
        masks = [
            columns[name] == value
            for name in ("outcome", "engine", "diagnosis")
            if (value := getattr(query, name))
        ]
        if query.protocol:
            masks.append(np.char.startswith(columns["protocol_hash"], query.protocol))
        if query.physics:
            masks.append(columns["physics_changed"] == (query.physics == "changed"))
        return masks

    def _within(self, query: Query) -> list[_Mask]:
        """What is not known is neither above nor below."""
        bounds = (
            ("gap_indirect_ev", query.gap_min_ev, query.gap_max_ev),
            ("n_atoms", query.atoms_min, query.atoms_max),
            ("similarity_rpa_ipa", query.sc_min, query.sc_max),
        )
        masks = []
        for name, least, most in bounds:
            if least is not None:
                masks.append(self._columns[name] >= least)
            if most is not None:
                masks.append(self._columns[name] <= most)
        return masks

    def _searched(self, query: Query) -> list[_Mask]:
        masks = [self._with_word(word.lower()) for word in query.words]
        if query.elements:
            masks.append(self._of_formulas(lambda elements: query.elements <= elements))
        if query.only_elements:
            masks.append(self._of_formulas(lambda elements: elements <= query.only_elements))
        return masks

    def _with_word(self, word: str) -> _Mask:
        """Rows whose id, formula or space group has the word."""
        return np.fromiter((word in line for line in self._lines), dtype=np.bool_, count=len(self))

    @cached_property
    def _lines(self) -> list[str]:
        """All that words are looked for in, a line a row."""
        names = (self._columns[name].tolist() for name in ("material_id", "formula", "space_group"))
        return ["\t".join(row).lower() for row in zip(*names, strict=True)]

    def _of_formulas(self, holds: Callable[[frozenset[str]], bool]) -> _Mask:
        fits = np.array([holds(elements) for elements in self._elements], dtype=np.bool_)
        return fits[self._formula_codes] if fits.size else np.zeros(0, dtype=np.bool_)

    @cached_property
    def _elements(self) -> list[frozenset[str]]:
        """Of each formula."""
        return [elements_of(str(formula)) for formula in self._formulas]


def _texts(column: pd.Series[str]) -> NDArray[np.str_]:
    # In an array all take as much room as the longest.
    return np.array([text[:LONGEST_TEXT] for text in column.fillna("").tolist()], dtype=np.str_)
