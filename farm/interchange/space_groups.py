"""Space groups by number and symbol, without a search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache

# All settings of all space groups.
_N_SETTINGS = 530


def symbol_of(number: object) -> str:
    """The short international symbol of a number; empty for what is none."""
    return _symbols().get(number, "") if isinstance(number, int) else ""


def number_of(symbol: str) -> int | None:
    """The number of a short international symbol in any setting; None for what is none."""
    return _numbers().get(symbol)


@cache
def _numbers() -> Mapping[str, int]:
    import spglib

    with warnings.catch_warnings():
        # It announces a change of its errors at every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        kinds = [spglib.get_spacegroup_type(hall) for hall in range(1, _N_SETTINGS + 1)]
    return {str(kind.international_short): int(kind.number) for kind in kinds if kind is not None}


@cache
def _symbols() -> Mapping[int, str]:
    symbols: dict[int, str] = {}
    for symbol, number in _numbers().items():
        symbols.setdefault(number, symbol)  # the first setting is the usual one
    return symbols
