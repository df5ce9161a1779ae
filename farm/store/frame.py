"""The current rows as a table for pandas or polars, made column by column.

What a calculation does not say is a missing value: never a 0, and never a NaN.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError, MissingProgramError
from farm.job import Engine, Outcome
from farm.spectrum import DIRECTIONS

if TYPE_CHECKING:
    from farm.store.reader import Store

# In polars, which has no index, the first column.
INDEX = "row"

_CUTOFFS = [f"gmax_converged_{direction}_mry" for direction in DIRECTIONS]

COLUMNS: Mapping[str, str] = {
    "material_id": "unique in a farm",
    "formula": "reduced",
    "protocol_hash": "SHA-256 of all parameters; rows of equal ones can be compared",
    "engine": "native or yambo: who computed the response",
    "outcome": "done, metal, unconverged (spectra of the last step) or failed",
    "n_atoms": "sites of the cell",
    "has_ipa": "there is a spectrum without local fields",
    "has_rpa": "there is one with them",
    "physics_changed": "a correction changed the physics: do not train on it",
    "gap_indirect_ev": "eV, on the k-grid of the spectra",
    "gap_direct_ev": "eV, on the k-grid of the spectra",
    "eps_inf_ipa": "a third of the trace of Re ε(0), without local fields",
    "eps_inf_rpa": "the same with local fields",
    "similarity_rpa_ipa": "SC[RPA;IPA] of Im ε averaged over directions; 1: the same",
    **dict.fromkeys(_CUTOFFS, "mRy, where the ladder along that direction converged"),
    "n_steps": "rungs of the ladder of local fields, IPA included",
    "cpu_s": "s, user + system time of all programs",
    "wall_s": "s, wall time of all programs",
    "peak_memory_mb": "MB, of the largest stage",
    "stored_utc": "when the row was stored",
}
CRYSTAL_COLUMNS: Mapping[str, str] = {
    "space_group": "international symbol",
    "reason": "why it is not done",
    "diagnosis": "what went wrong, in one word",
    "source": "database and id, file or citation of the structure",
    "volume_angstrom3": "Å³, of the cell",
}
# Before the names of what the source says of a structure.
SOURCE_PREFIX = "source_"

# Optional numbers, and the field of /rows that says whether they say something.
_FLAGS = {
    "gap_indirect_ev": "has_gap_indirect",
    "gap_direct_ev": "has_gap_direct",
    "eps_inf_ipa": "has_ipa",
    "eps_inf_rpa": "has_rpa",
    "similarity_rpa_ipa": "has_similarity",
}
_MEASURED = ("cpu_s", "wall_s", "peak_memory_mb")
_FEW_VALUES: Mapping[str, Iterable[str]] = {"protocol_hash": (), "engine": Engine, "outcome": Outcome}

_LARGEST_INT64 = 2**63

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Numbers:
    """known: which of them say something; None: all."""

    values: NDArray[Any]
    known: Flags | None = None


@dataclass(frozen=True, eq=False)
class _Words:
    """Texts of which there are few: codes into the list of them."""

    codes: NDArray[np.int32]
    words: list[str]


@dataclass(frozen=True, eq=False)
class _Texts:
    """None where there is none."""

    values: Sequence[str | None]


@dataclass(frozen=True, eq=False)
class _Times:
    """Microseconds since 1970-01-01 UTC, int64."""

    values: NDArray[np.int64]


_Column = _Numbers | _Words | _Texts | _Times


def frame_of(store: Store, kind: str, *, crystal: bool) -> Any:
    """See :meth:`farm.store.Store.frame`."""
    if kind not in _MAKERS:
        raise InputError(f"no frame of kind {kind!r}", fix=f"Choose {' or '.join(_MAKERS)}")
    columns = _row_columns(store)
    if crystal:
        columns |= _crystal_columns(store)
    return _MAKERS[kind](store.indices(), columns)


def _row_columns(store: Store) -> dict[str, _Column]:
    """One for each name in COLUMNS, in that order."""
    # No stage of a calculation takes nothing: where all are 0, nobody measured.
    measured = np.any([store.column(name) > 0 for name in _MEASURED], axis=0)
    converged_mry = store.column("gmax_converged_mry").T

    def column(name: str) -> _Column:
        if name in _CUTOFFS:
            cutoff_mry = np.ascontiguousarray(converged_mry[_CUTOFFS.index(name)])
            return _Numbers(cutoff_mry, cutoff_mry >= 0)
        if name == "stored_utc":
            return _Times((store.column("stored_unix_s") * 1e6).astype(np.int64))
        values = store.column(name)
        if name in _FEW_VALUES:
            return _words(values, _FEW_VALUES[name])
        if values.dtype.kind == "S":
            return _Texts([text.decode() for text in values.tolist()])
        known = measured if name in _MEASURED else store.column(_FLAGS[name]) if name in _FLAGS else None
        return _Numbers(values, known)

    return {name: column(name) for name in COLUMNS}


def _crystal_columns(store: Store) -> dict[str, _Column]:
    space_groups, reasons, diagnoses, sources, lattices = [], [], [], [], []
    said: dict[str, dict[int, Any]] = {}
    for n, (text, space_group, reason, diagnosis) in enumerate(
        store.texts("crystal", "space_group", "reason", "diagnosis")
    ):
        crystal = json.loads(text)
        space_groups.append(space_group or None)
        reasons.append(reason or None)
        diagnoses.append(diagnosis or None)
        sources.append(crystal["source"] or None)
        lattices.append(crystal["lattice_angstrom"])
        for name, value in crystal["properties"].items():
            if isinstance(value, bool | int | float | str):
                said.setdefault(name, {})[n] = value
    cells = np.array(lattices, dtype=np.float64).reshape(-1, 3, 3)
    return {
        "space_group": _Texts(space_groups),
        "reason": _Texts(reasons),
        "diagnosis": _Texts(diagnoses),
        "source": _Texts(sources),
        "volume_angstrom3": _Numbers(np.abs(np.linalg.det(cells))),
        **{SOURCE_PREFIX + name: _column_of(said[name], len(cells)) for name in sorted(said)},
    }


def _column_of(values: Mapping[int, Any], n_rows: int) -> _Column:
    """What sources say under one name, by row: numbers where all are, else texts."""
    if any(isinstance(value, str) for value in values.values()):
        return _Texts([None if n not in values else str(values[n]) for n in range(n_rows)])
    rows = list(values)
    known = np.zeros(n_rows, dtype=np.bool_)
    known[rows] = True
    kinds = set(map(type, values.values()))
    # A larger integer is a float64 that is not exact, as in any JSON reader of other languages.
    small = all(abs(value) < _LARGEST_INT64 for value in values.values())
    dtype = np.bool_ if kinds == {bool} else np.int64 if kinds == {int} and small else np.float64
    numbers: NDArray[Any] = np.zeros(n_rows, dtype=dtype)
    numbers[rows] = list(values.values())
    return _Numbers(numbers, known)


def _words(column: NDArray[np.bytes_], known: Iterable[str]) -> _Words:
    """Codes of texts, those that are ``known`` first."""
    codes = {str(word).encode(): n for n, word in enumerate(known)}
    found = (codes.setdefault(text, len(codes)) for text in column.tolist())
    return _Words(np.fromiter(found, dtype=np.int32, count=column.size), [word.decode() for word in codes])


def _pandas(rows: NDArray[np.int64], columns: Mapping[str, _Column]) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingProgramError("a frame needs pandas", fix="pip install pandas") from error

    nullable = {"b": pd.arrays.BooleanArray, "i": pd.arrays.IntegerArray, "f": pd.arrays.FloatingArray}

    def series(column: _Column) -> Any:
        match column:
            case _Numbers(values, None):
                return values
            case _Numbers(values, known):
                return nullable[values.dtype.kind](values, ~np.asarray(known))
            case _Words(codes, words):
                return pd.Categorical.from_codes(codes, words)
            case _Texts(values):
                return pd.array(values, dtype="string")
            case _Times(values):
                return pd.to_datetime(values, unit="us", utc=True)

    return pd.DataFrame(
        {name: series(column) for name, column in columns.items()}, index=pd.Index(rows, name=INDEX)
    )


def _polars(rows: NDArray[np.int64], columns: Mapping[str, _Column]) -> Any:
    try:
        import polars as pl
    except ImportError as error:
        raise MissingProgramError("this frame needs polars", fix="pip install polars") from error

    def series(name: str, column: _Column) -> Any:
        match column:
            case _Numbers(values, None):
                return pl.Series(name, values)
            case _Numbers(values, known):
                return pl.select(pl.when(pl.Series(known)).then(pl.Series(values)).alias(name))[name]
            case _Words(codes, words):
                return pl.Series(name, words, dtype=pl.Enum(words)).gather(codes)
            case _Texts(values):
                return pl.Series(name, values, dtype=pl.String)
            case _Times(values):
                return pl.Series(name, values).cast(pl.Datetime("us", "UTC"))

    return pl.DataFrame(
        [pl.Series(INDEX, rows), *(series(name, column) for name, column in columns.items())]
    )


_MAKERS: Mapping[str, Callable[[NDArray[np.int64], Mapping[str, _Column]], Any]] = {
    "pandas": _pandas,
    "polars": _polars,
}
