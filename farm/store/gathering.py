"""Many rows at once, in any order, as fast as the file gives them."""

from __future__ import annotations

import math
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.store.packing import spectra_of
from farm.usable_cpus import usable_cpus

# Chunks that a thread takes at once; fewer are not worth a thread.
_BLOCK = 32
# More of them wait for each other at HDF5's lock.
_MOST_THREADS = 8
_LONG_TABLE_CHUNKS = 64


def read_table(dataset: Any, start: int, stop: int) -> NDArray[np.void]:
    """Rows ``start`` to ``stop - 1`` of a table; as many as there are, where it is shorter.

    Of a long one chunk by chunk: three times as fast as by HDF5's own way through its cache.
    """
    (chunk_rows,) = dataset.chunks
    stop = min(stop, dataset.shape[0])
    first = start // chunk_rows
    n_chunks = -(-stop // chunk_rows) - first
    if n_chunks < _LONG_TABLE_CHUNKS or dataset.id.get_create_plist().get_nfilters():
        return np.asarray(dataset[start:stop])
    rows = np.empty(n_chunks * chunk_rows, dtype=dataset.dtype)
    chunks = rows.view(np.uint8).reshape(n_chunks, -1)
    for number, chunk in enumerate(chunks, start=first):
        chunk[:] = np.frombuffer(dataset.id.read_direct_chunk((number * chunk_rows,))[1], dtype=np.uint8)
    return rows[start - first * chunk_rows : stop - first * chunk_rows]


def gather(dataset: Any, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Spectra of the rows ``wanted``, in their order: float32 ``[row, direction, energy]``."""
    eps = np.empty((wanted.size, *dataset.shape[1:]), dtype=np.float32)
    gather_into(eps, dataset, wanted)
    return eps


def gather_into(eps: NDArray[np.float32], dataset: Any, wanted: NDArray[np.int64]) -> None:
    """The same into ``eps``, which may be the real or the imaginary part of an array."""
    if dataset.compression == "gzip" and dataset.shuffle and dataset.chunks[0] == 1:
        _inflate_into(eps, dataset, wanted)
    elif wanted.size:
        eps[...] = spectra_of(dataset, _in_runs(dataset, wanted))


def _inflate_into(eps: NDArray[np.float32], dataset: Any, wanted: NDArray[np.int64]) -> None:
    """Rows of a dataset of one compressed chunk a row, on all cores.

    HDF5 has one lock for everything and inflates within it; here only the reading is. Each row is finished
    while it is in the processor's cache.
    """
    shape, dtype = dataset.shape[1:], dataset.dtype

    def fill(start: int) -> None:
        numbers = np.empty((math.prod(shape), dtype.itemsize), dtype=np.uint8)
        for place in range(start, min(start + _BLOCK, wanted.size)):
            skipped, chunk = dataset.id.read_direct_chunk((int(wanted[place]), 0, 0))
            if skipped:  # a filter that did not help was left out
                eps[place] = spectra_of(dataset, dataset[int(wanted[place])])
                continue
            # HDF5's shuffle puts the first bytes of all numbers first, then the second ones...
            planes = np.frombuffer(zlib.decompress(chunk), dtype=np.uint8).reshape(dtype.itemsize, -1)
            for byte, plane in enumerate(planes):
                numbers[:, byte] = plane
            eps[place] = spectra_of(dataset, numbers.view(dtype).reshape(shape))

    starts = range(0, wanted.size, _BLOCK)
    n_threads = min(usable_cpus(), len(starts), _MOST_THREADS)
    try:
        if n_threads <= 1:
            for start in starts:
                fill(start)
        else:
            with ThreadPoolExecutor(n_threads) as pool:
                list(pool.map(fill, starts))
    except zlib.error as error:
        raise OSError(f"a chunk of {dataset.name} is damaged: {error}") from error


def _in_runs(dataset: Any, wanted: NDArray[np.int64]) -> NDArray[Any]:
    """Rows read as the longest runs there are: HDF5's own point lists are slow."""
    unique, inverse = np.unique(wanted, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    read = np.concatenate([dataset[int(run[0]) : int(run[-1]) + 1] for run in runs])
    return read if np.array_equal(unique, wanted) else np.asarray(read[inverse])


def n_distinct(texts: NDArray[np.bytes_]) -> int:
    """How many different texts there are, by 64 bits of a hash of each: a sort of the texts takes seconds.

    Among a million, two are taken for one with a probability of 3e-8.
    """
    if not texts.size:
        return 0
    words = np.ascontiguousarray(texts).view("<u8").reshape(texts.size, -1)
    hashes = np.zeros(texts.size, dtype=np.uint64)
    for word in words.T[words.any(axis=0)]:  # most texts are far shorter than there is room
        # The finaliser of SplitMix64: every bit of the word changes half of the bits of the hash.
        hashes += word
        hashes ^= hashes >> np.uint64(30)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(27)
        hashes *= np.uint64(0x94D049BB133111EB)
        hashes ^= hashes >> np.uint64(31)
    hashes.sort()
    return 1 + int(np.count_nonzero(hashes[1:] != hashes[:-1]))
