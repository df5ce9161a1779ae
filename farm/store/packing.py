"""Spectra as integers that compress to three fifths of what the floats do, and back to the same bits; pure.

A spectrum on a fine grid is smooth, and what a byte-wise compressor sees of that is little: the lower two
bytes of float32 numbers look like noise. Their bit patterns, taken as integers that are ordered as the
numbers are, are as smooth as the spectrum; differences of differences of them are small.

    fold(i)   = i if i >= 0 else i ^ 0x7fffffff         of the bits of each float32, as int32
    packed[0] = f[0],  packed[1] = f[1] - 2 f[0],  packed[n] = f[n] - 2 f[n-1] + f[n-2]    modulo 2**32

So, with any tool that reads arrays::

    folded = numpy.cumsum(numpy.cumsum(packed, axis=-1, dtype="int32"), axis=-1, dtype="int32")
    eps = (folded ^ ((folded >> 31) & 0x7fffffff)).view("float32")
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The attribute that says so to whoever reads the file.
ENCODING = "encoding"
PACKED = "second differences of folded float32"
HOW_TO_UNPACK = (
    "folded = cumsum(cumsum(packed, axis=-1, dtype=int32), axis=-1, dtype=int32); "
    "eps = (folded ^ ((folded >> 31) & 0x7fffffff)) viewed as float32"
)

_MAGNITUDE = np.int32(0x7FFFFFFF)


def pack(eps: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Second differences along the last axis, same shape; exact for every float32, NaN included."""
    folded = _folded(np.ascontiguousarray(eps, dtype="<f4").view("<i4"))
    packed = folded.copy()
    packed[..., 1:] -= folded[..., :-1]
    packed[..., 2:] -= folded[..., 1:-1]
    packed[..., 2:] += folded[..., :-2]
    if packed.shape[-1] > 1:
        packed[..., 1] -= folded[..., 0]
    return packed


def unpack(packed: NDArray[np.int32]) -> NDArray[np.float32]:
    """The inverse of :func:`pack`."""
    folded = np.cumsum(packed, axis=-1, dtype="<i4")
    np.cumsum(folded, axis=-1, dtype="<i4", out=folded)
    return _folded(folded).view("<f4")


def is_packed(dataset: Any) -> bool:
    """Whether an HDF5 dataset of spectra is kept packed: then, and only then, it has integers."""
    return bool(dataset.dtype.kind == "i")


def kept_form(dataset: Any, eps: NDArray[np.float32]) -> NDArray[Any]:
    """Spectra as ``dataset`` keeps them."""
    return pack(eps) if is_packed(dataset) else eps


def spectra_of(dataset: Any, kept: NDArray[Any]) -> NDArray[np.float32]:
    """The inverse of :func:`kept_form`, for what was read."""
    return unpack(kept) if is_packed(dataset) else np.asarray(kept)


def _folded(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sign and magnitude into an order-preserving integer; its own inverse."""
    folded: NDArray[np.int32] = bits ^ ((bits >> 31) & _MAGNITUDE)
    return folded
