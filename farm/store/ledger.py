"""Where each row lies in the file, kept beside it: ``<store>.ledger``.

HDF5 finds its data by metadata that it changes in place, in blocks longer than what a disk writes at once.
A power cut in the middle of an append leaves one page of such a block old and the next one new; HDF5 then
cannot read the block, and with it all rows that it led to, however long ago they were written. But those
lie where they did: compressed chunks are written once and not touched again. The ledger has, of each row,
where its chunks are and what the tables say of it, 2 kB; it is only ever added to, each entry with its
checksum.

::

    entry   = length (uint32), CRC-32 of the body (uint32), body
    body    = MessagePack; of the first entry what the file is, of the others one row each

The ledger can be made again from a file that is sound, and is, where it does not belong to the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from farm.spectrum import FloatArray
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
    fsync_path,
)
from farm.store.packing import is_packed, unpack
from farm.store.record import Record, checksum, n_between
from farm.store.store_file import StoreFile
from farm.store.tables import committed_rows

_HEAD = struct.Struct("<II")
_BLOCK_ROWS = 256


class Ledger:
    """The ledger of an open store, to add to.

    Made again where it is missing, belongs to another file, or says of its last row what the file does not.
    """

    def __init__(self, store: Path, file: StoreFile) -> None:
        self._path = ledger_of(store)
        n_rows = committed_rows(file)
        n_known = _rows_that_fit(self._path, file, n_rows)
        if n_known is None:
            write_ledger(self._path, file)
            n_known = n_rows
        self._handle = open(self._path, "ab", buffering=0)  # noqa: SIM115 - held until close()
        if n_known < n_rows:  # a writer was killed between the two
            self.add(file, n_known, n_rows)

    def add(self, file: StoreFile, start: int, stop: int) -> None:
        """Add the rows ``start`` to ``stop - 1``, which the file has; durable when this returns."""
        self._handle.write(b"".join(map(_entry, _whereabouts(file, start, stop))))
        os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Close it; again is allowed."""
        self._handle.close()


def ledger_of(store: Path) -> Path:
    """Where the ledger of the store at a path is."""
    return store.with_name(store.name + ".ledger")


def write_ledger(path: Path, file: StoreFile) -> None:
    """Make the ledger of a file, durably and at once."""
    unfinished = path.with_name(path.name + ".new")
    with open(unfinished, "wb") as handle:
        head = {"file_id": _file_id(file), "packed": is_packed(file["ipa/eps_real"])}
        handle.write(_entry(head | {"energies_ev": file["energies_ev"][:].tobytes()}))
        n_rows = committed_rows(file)
        for start in range(0, n_rows, _BLOCK_ROWS):
            handle.writelines(map(_entry, _whereabouts(file, start, min(start + _BLOCK_ROWS, n_rows))))
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(unfinished, path)
    fsync_path(path.parent)


@dataclass(frozen=True, eq=False)
class Salvage:
    """What a ledger says of its file, whether HDF5 can read that or not.

    packed:  whether IPA and RPA are kept packed
    records: of each row, in order; None: it is not what was written
    """

    file_id: str
    packed: bool
    energies_ev: FloatArray
    records: Iterator[Record | None]


def salvage(store: Path) -> Salvage | None:
    """What can be read of a store by its ledger; None where there is none."""
    entries = _entries(ledger_of(store))
    head = next(entries, None)
    if head is None or not store.is_file():
        return None
    packed, energies_ev = bool(head["packed"]), np.frombuffer(head["energies_ev"], dtype="<f8")
    records = _salvaged(store, entries, packed=packed, n_energies=energies_ev.size)
    return Salvage(head["file_id"], packed, energies_ev, records)


def _salvaged(
    store: Path, entries: Iterator[dict[str, Any]], *, packed: bool, n_energies: int
) -> Iterator[Record | None]:
    with open(store, "rb") as raw:
        for entry in entries:
            try:
                record = _record(raw.fileno(), entry, packed=packed, n_energies=n_energies)
            except (OSError, ValueError, TypeError, KeyError, IndexError, zlib.error):
                yield None
            else:
                yield record if checksum(record) == int(record.row["crc32"][0]) else None


def _whereabouts(file: StoreFile, start: int, stop: int) -> Iterator[dict[str, Any]]:
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


def _record(descriptor: int, entry: dict[str, Any], *, packed: bool, n_energies: int) -> Record:
    """The inverse of :func:`_whereabouts`, of the bytes of the file."""

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


def _entry(content: dict[str, Any]) -> bytes:
    body = bytes(msgpack.packb(content))
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """All entries up to the first that is not whole."""
    try:
        handle = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError:
        return
    with handle:
        while len(head := handle.read(_HEAD.size)) == _HEAD.size:
            length, crc32 = _HEAD.unpack(head)
            body = handle.read(length)
            # A file that grew and whose last page did not get to the disk ends with zeros.
            if not length or len(body) < length or zlib.crc32(body) != crc32:
                return
            yield msgpack.unpackb(body)


def _rows_that_fit(path: Path, file: StoreFile, n_rows: int) -> int | None:
    """How many rows a ledger has of a file, and its end cut to those; None: it is not of that file."""
    if next(_entries(path), {}).get("file_id") != _file_id(file):
        return None
    starts = _starts(path)
    n_entries = len(starts) - 2
    if n_entries > n_rows:
        return None
    with open(path, "r+b") as handle:
        handle.truncate(starts[-1])
        handle.seek(starts[-2])
        last = handle.read()
    if n_entries == 0:
        return 0
    return (
        n_entries if last == b"".join(map(_entry, _whereabouts(file, n_entries - 1, n_entries))) else None
    )


def _starts(path: Path) -> list[int]:
    """Where each whole entry begins, as their lengths say, and where the last one ends.

    A million take a second. Beyond may be the begin of one whose writer was killed.
    """
    starts, size = [0], path.stat().st_size
    with open(path, "rb") as handle:
        while len(head := handle.read(_HEAD.size)) == _HEAD.size:
            length = _HEAD.unpack(head)[0]
            end = starts[-1] + _HEAD.size + length
            if not length or end > size:
                break
            starts.append(end)
            handle.seek(end)
    return starts


def _file_id(file: StoreFile) -> str:
    return str(file.attrs.get("file_id", ""))
