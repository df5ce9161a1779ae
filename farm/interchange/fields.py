"""Fields of a decoded JSON entry, each checked before it is believed; pure.

A field that is wrong is an InputError that names it by its path (``data.ipa_epsI.xx``) and says what mends
it; the fix is the same for all of one kind, so that thousands of files can be counted by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farm.errors import InputError
from farm.interchange.decimals import as_float32
from farm.spectrum import FloatArray

ADD_IT = "Add the field, or leave the file out"
WRITE_NUMBERS = "Write numbers, without quotes"
COMPUTE_AGAIN = "Compute it again, or leave the material out"

_NUMBERS = {int, float}


def mapping(value: Any, field: str) -> Mapping[str, Any]:
    """A field that must be an object."""
    if not isinstance(value, dict):
        raise missing(field) if value is None else InputError(f"field {field} is no object", fix=ADD_IT)
    return value


def missing(field: str) -> InputError:
    """The error of a field that is not there."""
    return InputError(f"field {field} is missing", fix=ADD_IT)


def number(value: Any, field: str) -> float:
    """A field that must be a finite number."""
    if value is None:
        raise missing(field)
    if type(value) not in _NUMBERS:
        raise InputError(f"field {field}: {_told(value)} is no number", fix=WRITE_NUMBERS)
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise InputError(f"field {field} is {found}", fix=COMPUTE_AGAIN)
    return found


def whole_number(value: Any, field: str) -> int:
    """A field that must be a whole number that 32 bits hold."""
    found = number(value, field)
    if found != int(found) or abs(found) >= 2**31:
        raise InputError(f"field {field}: {found:g} is no whole number", fix="Write a whole number")
    return int(found)


def three(value: Any, field: str) -> Sequence[Any]:
    """A field that must be a list of three values, of x, y and z."""
    if value is None:
        raise missing(field)
    if not isinstance(value, list) or len(value) != 3:
        raise InputError(f"field {field} is no list of three", fix="Write one number for each of x, y, z")
    return value


def is_nan(value: Any) -> bool:
    """Whether a value says in one of the known ways that there is none: NaN, or a list or object of it."""
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and bool(value) and all(map(is_nan, value))


def spectrum(value: Any, field: str, n_energies: int) -> FloatArray:
    """A field that must be one finite number for each energy, shape ``(n_energies,)``."""
    if not isinstance(value, list):
        raise missing(field) if value is None else InputError(f"field {field} is no list", fix=ADD_IT)
    if set(map(type, value)) - _NUMBERS:
        place, odd = next((i, v) for i, v in enumerate(value, start=1) if type(v) not in _NUMBERS)
        raise InputError(f"field {field}: number {place} is {_told(odd)}", fix=WRITE_NUMBERS)
    if len(value) != n_energies:
        raise InputError(
            f"field {field} has {len(value)} numbers, the energy grid of the protocol {n_energies}",
            fix="Get the file again, or say with --protocol FILE on which energies it is (n_energies)",
        )
    try:
        numbers = np.array(value, dtype=np.float64)
    except OverflowError:
        numbers = np.full(n_energies, np.inf)
    good = np.isfinite(as_float32(numbers))
    if not good.all():
        place = int(np.argmin(good))
        raise InputError(
            f"field {field}: number {place + 1} is {numbers[place]:.3g}, which no dielectric function is",
            fix=COMPUTE_AGAIN,
        )
    return numbers


def _told(value: Any) -> str:
    kind = {str: "the text", bool: "the word"}.get(type(value))
    return f"{kind} {str(value)!r:.40}" if kind else f"a {type(value).__name__}"
