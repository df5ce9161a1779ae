"""Of one row: where its chunks lie in the file and what the tables say; and its record from those bytes.

What is put down while HDF5 can read the file is all that is needed to read the row without HDF5.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.store.bands import BandRecord
from farm.store.layout import (
    CORNER_DTYPE,
    PATH_DTYPE,
    POINT_DTYPE,
    ROW_DTYPE,
    SPECTRA,
    STEP_DTYPE,
    STEP_SPECTRA,
    TEXT_CHUNK,
    VALUES_CHUNK,
)
from farm.store.packing import unpack
from farm.store.record import Record, n_between
from farm.store.store_file import StoreFile


def whereabouts(file: StoreFile, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Of each row: what the tables say, and (offset, bytes) in the file of each chunk, by dataset."""
    if start == stop:
        return
    rows, all_offsets = file["rows"][start:stop], file["text_offsets"][start:stop]
    paths = file["bands/paths"][start:stop]
    steps = _Part(file, "ladder/steps", rows, "first_step", "n_steps")
    corners = _Part(file, "bands/corners", paths, "first_corner", "n_corners")
    points = _Part(file, "bands/points", paths, "first_point", "n_points")
    for n, (row, offsets, path) in enumerate(zip(rows, all_offsets.tolist(), paths, strict=True)):
        chunks = {"text": _chunks(file, "text", offsets[0], offsets[-1], TEXT_CHUNK)}
        for name in SPECTRA:
            if row[f"has_{name[:3]}"]:
                chunks[name] = _chunks(file, name, start + n, start + n + 1, 1)
        first, n_more = int(row["first_between"]), n_between(int(row["n_steps"]))
        for name in STEP_SPECTRA:
            chunks[name] = _chunks(file, name, first, first + n_more, 1)
        first, n_values = int(path["first_value"]), int(path["n_points"]) * int(path["n_bands"])
        chunks["bands"] = _chunks(file, "bands/energies_ev", first, first + n_values, VALUES_CHUNK)
        yield {
            "row": row.tobytes(),
            "text_ends": [end - offsets[0] for end in offsets],
            "path": path.tobytes(),
            "steps": steps.of(row),
            "corners": corners.of(path),
            "points": points.of(path),
            "chunks": chunks,
        }


class _Part:
    """What belongs to consecutive rows of a table, read at once."""

    def __init__(self, file: StoreFile, name: str, rows: NDArray[np.void], first: str, number: str) -> None:
        self._first, self._number, self._start = first, number, int(rows[first][0])
        self._elements = file[name][self._start : int(rows[first][-1]) + int(rows[number][-1])]

    def of(self, row: Any) -> bytes:
        """The elements of one of the rows."""
        start = int(row[self._first]) - self._start
        return bytes(self._elements[start : start + int(row[self._number])].tobytes())


def _chunks(file: StoreFile, name: str, start: int, stop: int, chunk: int) -> list[tuple[int, int]]:
    dataset = file[name].id
    rest = (0,) * (dataset.rank - 1)
    found = (dataset.get_chunk_info_by_coord((at, *rest)) for at in range(start, stop, chunk))
    return [(int(info.byte_offset), int(info.size)) for info in found]


def record_at(descriptor: int, entry: dict[str, Any], *, packed: bool, n_energies: int) -> Record:
    """The record of a row, from the bytes of the file and one of :func:`whereabouts`; not verified.

    Raises OSError, ValueError, TypeError, KeyError, IndexError or zlib.error where they are damaged.
    """

    def numbers(name: str, dtype: str) -> NDArray[Any]:
        pieces = [_inflated(os.pread(descriptor, size, at), dtype) for at, size in entry["chunks"][name]]
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=dtype)

    row = np.frombuffer(entry["row"], dtype=ROW_DTYPE)
    text, ends = numbers("text", "u1").tobytes(), entry["text_ends"]
    steps = np.frombuffer(entry["steps"], dtype=STEP_DTYPE)
    step_eps = _step_eps(row, numbers, packed=packed, n_energies=n_energies)
    path = np.frombuffer(entry["path"], dtype=PATH_DTYPE)[0]
    n_points, n_bands = int(path["n_points"]), int(path["n_bands"])
    bands = None
    if n_points:
        bands = BandRecord(
            corners=np.frombuffer(entry["corners"], dtype=CORNER_DTYPE),
            points=np.frombuffer(entry["points"], dtype=POINT_DTYPE),
            energies=numbers("bands", "<f4")[: n_points * n_bands].reshape(n_points, n_bands),
            n_valence=int(path["n_valence"]),
        )
    texts = tuple(text[start:stop] for start, stop in pairwise(ends))
    return Record(row=row, texts=texts, steps=steps, step_eps=step_eps, bands=bands)


def _step_eps(
    row: NDArray[np.void],
    numbers: Callable[[str, str], NDArray[Any]],
    *,
    packed: bool,
    n_energies: int,
) -> NDArray[np.float32]:
    """Float32 ``[step, re|im, direction, energy]``."""
    rungs = [np.zeros((0, 2, 3, n_energies), dtype="<f4")]
    for names, is_there, as_integers in (
        (SPECTRA[:2], row["has_ipa"][0], packed),
        (STEP_SPECTRA, n_between(int(row["n_steps"][0])), True),
        (SPECTRA[2:], row["has_rpa"][0], packed),
    ):
        if is_there:
            kept = [numbers(name, "<i4" if as_integers else "<f4") for name in names]
            parts = [part.reshape(-1, 3, n_energies) for part in kept]
            rungs.append(np.stack([unpack(p) if as_integers else p for p in parts], axis=1))
    return np.concatenate(rungs)


def _inflated(chunk: bytes, dtype: str) -> NDArray[Any]:
    """The numbers of a chunk that HDF5's shuffle and gzip filters have made."""
    planes = np.frombuffer(zlib.decompress(chunk), dtype=np.uint8).reshape(np.dtype(dtype).itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()
