"""The valid rows of one store copied into a new file of the newest layout, each checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from farm.errors import StoreError
from farm.spectrum import FloatArray
from farm.store.creation import create_file
from farm.store.layout import LIBRARY_BOUNDS, in_newest_form
from farm.store.packing import is_packed
from farm.store.record import Key, Record
from farm.store.store_file import StoreFile
from farm.store.tables import Ends, committed_rows, is_sound, place, read_record, write_records

# Rows copied at once: some 10 MB at 2001 energies.
BLOCK_ROWS = 32


@dataclass(frozen=True)
class DamagedRow:
    """A row that could not be read, or is not what was written.

    material_id: empty where the table of rows itself cannot be read there
    """

    index: int
    material_id: str = ""


@dataclass(frozen=True)
class Copied:
    """How many rows are in the copy, and which were left behind because they are damaged."""

    n_rows: int
    damaged: tuple[DamagedRow, ...] = ()


def copy_store(
    old: StoreFile,
    target: Path,
    *,
    rows: Iterable[int] | None = None,
    packed: bool | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> Copied:
    """Copy an open store to a new file at ``target``, closed in order and not yet forced to disk.

    rows:    which, in order of arrival; None: all that are committed
    packed:  how IPA and RPA are kept (see :mod:`farm.store.packing`); None: as they are
    on_rows: is told of every block how many rows it had

    Raises StoreError for an energy grid that is damaged; h5py's errors where the disk refuses.
    """
    indices = range(committed_rows(old)) if rows is None else rows
    return write_store(
        target,
        old["energies_ev"][:],
        (sound_record(old, index) for index in indices),
        packed=is_packed(old["ipa/eps_real"]) if packed is None else packed,
        on_rows=on_rows,
    )


def write_store(
    target: Path,
    energies_ev: FloatArray,
    records: Iterable[Record | DamagedRow],
    *,
    packed: bool,
    on_rows: Callable[[int], None] | None = None,
) -> Copied:
    """A new store of records in order of arrival, as :func:`copy_store` leaves it."""
    if not np.isfinite(energies_ev).all():
        raise StoreError(f"{target}: the energy grid is damaged", fix="Restore the file from a copy")
    create_file(target, energies_ev, packed=packed)
    source = iter(records)
    newest: dict[Key, int] = {}
    damaged: list[DamagedRow] = []
    ends = Ends()
    with StoreFile(h5py.File(target, "r+", libver=LIBRARY_BOUNDS)) as new:
        while block := list(islice(source, BLOCK_ROWS)):
            damaged += [record for record in block if isinstance(record, DamagedRow)]
            for sound in _of_different_keys(record for record in block if isinstance(record, Record)):
                stored = [float(record.row["stored_unix_s"][0]) for record in sound]
                batch = place(sound, ends, lambda key: newest.get(key, -1), stored)
                newest.update((record.key, ends.rows + n) for n, record in enumerate(sound))
                ends = write_records(new, batch, ends)
            if on_rows is not None:
                on_rows(len(block))
        new["committed"][0] = ends.rows
    return Copied(ends.rows, tuple(damaged))


def sound_record(file: StoreFile, row_index: int) -> Record | DamagedRow:
    """The record of a row, or what can be said of one that is damaged."""
    name = ""
    try:
        row = in_newest_form(file["rows"][row_index : row_index + 1])
        name = row["material_id"][0].decode(errors="replace")
        record = read_record(file, row_index, row)
        if is_sound(file, row_index, record):
            return record
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, MemoryError):
        pass  # a chunk that cannot be read, or numbers that lead nowhere
    return DamagedRow(row_index, name)


def _of_different_keys(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The same records in runs without a key twice: a row can replace only what is there already."""
    run: list[Record] = []
    keys: set[Key] = set()
    for record in records:
        if record.key in keys:
            yield run
            run, keys = [], set()
        run.append(record)
        keys.add(record.key)
    if run:
        yield run
