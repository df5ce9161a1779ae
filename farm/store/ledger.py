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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from farm.spectrum import FloatArray
from farm.store.layout import fsync_path
from farm.store.packing import is_packed
from farm.store.record import Record, checksum
from farm.store.store_file import StoreFile
from farm.store.tables import committed_rows
from farm.store.whereabouts import record_at, whereabouts

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
        """Add the rows ``start`` to ``stop - 1``, which the file has; durable when this returns.

        Raises OSError where the disk refuses, also a part; what is there of that goes at the next opening.
        """
        entries = b"".join(map(_entry, whereabouts(file, start, stop)))
        if self._handle.write(entries) != len(entries):
            raise OSError(f"{self._path}: no space is left for the ledger")
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
            handle.writelines(map(_entry, whereabouts(file, start, min(start + _BLOCK_ROWS, n_rows))))
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
                record = record_at(raw.fileno(), entry, packed=packed, n_energies=n_energies)
            except (OSError, ValueError, TypeError, KeyError, IndexError, zlib.error):
                yield None
            else:
                yield record if checksum(record) == int(record.row["crc32"][0]) else None


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
    return n_entries if last == b"".join(map(_entry, whereabouts(file, n_entries - 1, n_entries))) else None


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
