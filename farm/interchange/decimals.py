"""Doubles from the float32 values that the store keeps, to the last bit; pure.

Published numbers are short decimals: yambo prints six digits. The double nearest to such a number is lost
in float32, but not the number: it is the only one of so few digits nearby. Rounded to n digits it is an
integer m times a power of ten, and m / 10^k or m 10^k is correctly rounded as long as both are exact, which
powers of ten are up to 10^22 (Clinger, PLDI 1990): the same double that a reader of the text gets.

Whether it works is not argued but tried, for each spectrum. Where it does not, what float32 loses is kept.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from farm.spectrum import FloatArray

Float32Array = NDArray[np.float32]

# How to get the doubles back: a number of digits, EXACT, or {"remainder": text}.
Recipe = int | dict[str, str]

EXACT = 0
_MOST_DIGITS = 9  # float32 tells no decimals of more digits apart
_DIGITS = (6, 7, 8, _MOST_DIGITS)
_EXACT_POWERS = np.array([float(10**k) for k in range(23)])
_REMAINDER = "remainder"


def recipe(doubles: FloatArray) -> Recipe:
    """How :func:`recovered` gets ``doubles`` (any finite ones, one axis) back from their float32 values."""
    kept = _without_signs_of_zeros(as_float32(doubles))
    for n_digits in (*_DIGITS, EXACT):
        if _same_bits(_rounded(kept, n_digits), doubles):
            return n_digits
    return {_REMAINDER: _packed(_bits(doubles) - _bits(kept.astype(np.float64)))}


def recovered(kept: Float32Array, how: Recipe) -> FloatArray:
    """The doubles that became ``kept``, shape ``(n,)``. Raises ValueError for no recipe of theirs."""
    kept = _without_signs_of_zeros(kept)
    if isinstance(how, int) and how in (*_DIGITS, EXACT):
        return _rounded(kept, how)
    if isinstance(how, dict) and isinstance(how.get(_REMAINDER), str):
        lost = _unpacked(how[_REMAINDER])
        if lost.size == kept.size:
            return (_bits(kept.astype(np.float64)) + lost).view(np.float64)
    raise ValueError(f"{how!r:.40} does not say how to get the numbers back")


def _rounded(kept: Float32Array, n_digits: int) -> FloatArray:
    """Each number rounded to so many significant digits; those out of reach of exact powers as they are."""
    values = kept.astype(np.float64)
    if n_digits == EXACT:
        return values
    size = np.abs(values)
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log10(size))
    # The logarithm may be one off beside a power of ten; zeros have none.
    reachable = np.abs(exponent) < _EXACT_POWERS.size
    exponent = np.where(reachable, exponent, 0.0).astype(np.int64)
    exponent -= size < 10.0**exponent
    exponent += size >= 10.0 ** (exponent + 1)
    shift = n_digits - 1 - exponent
    reachable &= np.abs(shift) < _EXACT_POWERS.size
    power = _EXACT_POWERS[np.where(reachable, np.abs(shift), 0)]
    up = shift >= 0
    integers = np.rint(np.where(up, values * power, values / power))
    return np.where(reachable, np.where(up, integers / power, integers * power), values)


def _without_signs_of_zeros(kept: Float32Array) -> Float32Array:
    # Complex numbers lose them in the simplest sum; where a file has one, the remainder tells.
    return kept + np.float32(0.0)


def _bits(values: FloatArray) -> NDArray[np.uint64]:
    # Differences are of bit patterns, not of numbers: they tell -0 from 0, too.
    return np.ascontiguousarray(values).view(np.uint64)


def _same_bits(first: FloatArray, second: FloatArray) -> bool:
    return np.array_equal(_bits(first), _bits(second))


def _packed(lost: NDArray[np.uint64]) -> str:
    # All lowest bytes, then all next ones: the upper four are nearly always the same.
    by_byte = lost.astype("<u8").view(np.uint8).reshape(-1, 8).T
    return base64.b64encode(zlib.compress(by_byte.tobytes(), 9)).decode()


def _unpacked(text: str) -> NDArray[np.uint64]:
    try:
        by_byte = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), dtype=np.uint8)
        return np.ascontiguousarray(by_byte.reshape(8, -1).T).view("<u8").ravel().astype(np.uint64)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"the remainder is damaged: {error}") from error


def as_float32(doubles: FloatArray) -> Float32Array:
    """What the store keeps; infinite where float32 cannot hold it."""
    with np.errstate(over="ignore"):
        kept: Any = doubles.astype(np.float32)
    return np.asarray(kept, dtype=np.float32)


def shortest(kept: Float32Array) -> Float32Array | FloatArray:
    """The same numbers in the type whose shortest decimals bring them back.

    Those of float32, but where a reader that takes them for doubles and rounds once more ends beside them.
    """
    text = orjson.dumps(kept, option=orjson.OPT_SERIALIZE_NUMPY)
    read = np.array(orjson.loads(text), dtype=np.float64).astype(np.float32)
    return kept if read.tobytes() == kept.tobytes() else kept.astype(np.float64)
