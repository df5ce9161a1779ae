"""After a crash, or an older layout: the valid rows copied into a new file that takes the old one's place.

A writer killed with the file open leaves it marked as open for writing, and HDF5 refuses to append.
Clearing the mark in place can cut off data; a copy cannot. Nor can a file get the datasets of a newer
layout while readers have it open with SWMR; a copy has them from the start. The old file stays where it
is until the copy is complete, and readers that have it open go on reading it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from farm.errors import StoreError
from farm.store.creation import create_file
from farm.store.layout import (
    LAYOUT_VERSION,
    LIBRARY_BOUNDS,
    check_layout,
    hdf5_errors,
    layout_version,
    publish,
)
from farm.store.opening import open_for_reading, open_for_writing
from farm.store.record import Record, placed
from farm.store.tables import Ends, committed_rows, is_sound, read_record, write_records

# Rows copied at once: some 10 MB at 2001 energies.
BLOCK_ROWS = 32


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovery:
    """What a recovery did: rows copied, rows found damaged and left behind, where the old file is."""

    n_rows: int
    n_damaged: int
    old_file: Path | None


def open_for_appending(path: Path) -> Any:
    """Open with SWMR from the first moment, in the newest layout.

    Recovers the file if its last writer was killed. Raises StoreError if it is no store, or locked.
    """
    file = _open_or_recover(path)
    try:
        check_layout(path, file)
        version = layout_version(file)
    except BaseException:
        file.close()
        raise
    if version == LAYOUT_VERSION:
        return file
    file.close()
    done = recover(path)
    level = logging.ERROR if done.n_damaged else logging.INFO
    message = "%s: copied from layout %d to %d: %d rows, %d damaged"
    log.log(level, message, path, version, LAYOUT_VERSION, done.n_rows, done.n_damaged)
    with hdf5_errors(path, "opening the copied store"):
        return open_for_writing(path)


def _open_or_recover(path: Path) -> Any:
    try:
        return open_for_writing(path)
    except BlockingIOError as error:
        raise StoreError(
            f"{path}: another program keeps it open", fix="Close it, or let it open the file with SWMR"
        ) from error
    except (OSError, RuntimeError) as refused:
        try:
            done = recover(path)
        except StoreError as error:
            raise StoreError(
                f"{path}: not a store that can be read ({refused})",
                fix="Move the file aside; the spool and a fresh store will take its place",
            ) from error
        level = logging.ERROR if done.n_damaged else logging.WARNING
        log.log(level, "%s: recovered %d rows, %d damaged", path, done.n_rows, done.n_damaged)
        with hdf5_errors(path, "opening the recovered store"):
            return open_for_writing(path)


def recover(path: Path) -> Recovery:
    """Rebuild the store at ``path`` in the newest layout from its valid rows, in place of the old file.

    The old file is kept beside it (``.damaged``) when a row could not be saved. Raises StoreError if
    it is no store or nothing of it can be read.
    """
    unfinished = path.with_name(path.name + ".recovering")
    unfinished.unlink(missing_ok=True)
    with hdf5_errors(path, "reading it for recovery"), open_for_reading(path, damaged=True) as old:
        check_layout(path, old)
        energies_ev = old["energies_ev"][:]
        if not np.isfinite(energies_ev).all():
            raise StoreError(f"{path}: the energy grid is damaged", fix="Restore the file from a copy")
        create_file(unfinished, energies_ev)
        with h5py.File(unfinished, "r+", libver=LIBRARY_BOUNDS) as new:
            n_rows, n_damaged = _copy_rows(old, new)
    old_file = None
    if n_damaged:
        old_file = path.with_name(path.name + ".damaged")
        old_file.unlink(missing_ok=True)
        os.link(path, old_file)
    publish(unfinished, path)
    return Recovery(n_rows, n_damaged, old_file)


def _copy_rows(old: Any, new: Any) -> tuple[int, int]:
    n_old, ends, n_damaged = committed_rows(old), Ends(), 0
    for start in range(0, n_old, BLOCK_ROWS):
        block = [_sound_record(old, i) for i in range(start, min(start + BLOCK_ROWS, n_old))]
        sound = [record for record in block if record is not None]
        n_damaged += len(block) - len(sound)
        if sound:
            ends = write_records(new, _placed_block(sound, ends), ends)
    new["committed"][0] = ends.rows
    return ends.rows, n_damaged


def _sound_record(file: Any, row_index: int) -> Record | None:
    try:
        record = read_record(file, row_index)
        return record if is_sound(file, row_index, record) else None
    except (OSError, RuntimeError, ValueError, IndexError):  # a chunk that cannot be read
        return None


def _placed_block(records: Sequence[Record], ends: Ends) -> list[Record]:
    block, first_step = [], ends.steps
    for row_index, record in enumerate(records, start=ends.rows):
        stored = float(record.row["stored_unix_s"][0])
        block.append(placed(record, row_index=row_index, first_step=first_step, stored_unix_s=stored))
        first_step += record.steps.size
    return block
