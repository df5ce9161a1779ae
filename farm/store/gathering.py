"""Many spectra at once, in any order, as fast as the file gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.store.packing import spectra_of


def gather(dataset: Any, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows in any order, read as the longest runs there are: HDF5's own point lists are slow."""
    if not wanted.size:
        return np.empty((0, *dataset.shape[1:]), dtype=np.float32)
    unique, inverse = np.unique(wanted, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    read = spectra_of(dataset, np.concatenate([dataset[int(run[0]) : int(run[-1]) + 1] for run in runs]))
    if np.array_equal(unique, wanted):
        return read
    return read[inverse]


def n_distinct(texts: NDArray[np.bytes_]) -> int:
    """How many different texts there are, by 64 bits of a hash of each: a sort of the texts takes seconds.

    Among a million, two are taken for one with a probability of 3e-8.
    """
    if not texts.size:
        return 0
    words = np.ascontiguousarray(texts).view("<u8").reshape(texts.size, -1)
    hashes = np.zeros(texts.size, dtype=np.uint64)
    for word in words.T:
        # The finaliser of SplitMix64: every bit of the word changes half of the bits of the hash.
        hashes += word
        hashes ^= hashes >> np.uint64(30)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(27)
        hashes *= np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    return int(np.unique(hashes).size)
