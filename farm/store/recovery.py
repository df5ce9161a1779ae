"""After a crash, or an older layout: a file that can be appended to again.

A writer killed with the file open leaves it marked as open for writing, and HDF5 refuses to append. Where
the system has run on since, all that it wrote is there, and SWMR has linked only what is complete: the mark
is taken away, and the newest rows are verified. After a power cut pages may be missing, and of a file that
was damaged anything: then the valid rows are copied into a new one that takes the old one's place, each
verified. So they are for a newer layout. The old file stays where it is until the copy is complete, and
readers that have it open go on reading it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from farm.errors import StoreError
from farm.spectrum import FloatArray
from farm.store.copying import DamagedRow, sound_record, write_store
from farm.store.layout import (
    LAYOUT_VERSION,
    check_layout,
    hdf5_errors,
    layout_version,
    publish,
)
from farm.store.ledger import salvage
from farm.store.opening import open_for_reading, open_for_writing
from farm.store.packing import is_packed
from farm.store.record import Record
from farm.store.store_file import StoreFile
from farm.store.superblock import is_left_open, mark_closed
from farm.store.tables import committed_rows

log = logging.getLogger(__name__)

# More than are written between two forced writes to disk.
_NEWEST_ROWS = 128
# Of HDF5's messages: "incorrect metadata checksum after all read attempts".
_TORN_SAYS = "metadata checksum"


@dataclass(frozen=True)
class Recovery:
    """What a recovery did.

    n_rows:   rows copied
    damaged:  rows left behind
    old_file: where the file is that holds them; None where there are none
    """

    n_rows: int
    damaged: tuple[DamagedRow, ...]
    old_file: Path | None

    @property
    def n_damaged(self) -> int:
        """How many rows were left behind."""
        return len(self.damaged)


def open_for_appending(path: Path, *, in_place: bool = False) -> StoreFile:
    """Open with SWMR from the first moment, in the newest layout.

    Recovers the file if its last writer was killed. Raises StoreError if it is no store, or locked.

    in_place: the system has run on since that; a copy is then made only if the newest rows are damaged
    """
    if _torn(path).exists():
        file = _recovered(path, "metadata were torn")
    elif in_place and is_left_open(path):
        file = _gone_on(path) or _recovered(path, "a writer that was killed left damage")
    else:
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


def say_torn(path: Path, error: BaseException) -> None:
    """Have the next writer copy the store, if an error says that metadata cannot be read.

    A kill may end even a write in the middle, at the border of a page: what was committed before stands,
    but a block in which the next row would be entered does not.
    """
    if _TORN_SAYS in str(error):
        _torn(path).touch()


def _torn(path: Path) -> Path:
    return path.with_name(path.name + ".torn")


def _gone_on(path: Path) -> StoreFile | None:
    """The file of a writer that was killed, its newest rows verified; None if there is more to it."""
    try:
        mark_closed(path)
        file = open_for_writing(path)
    except (OSError, RuntimeError):
        return None
    try:
        check_layout(path, file)
        n_rows = committed_rows(file)
        newest = (sound_record(file, row) for row in range(max(n_rows - _NEWEST_ROWS, 0), n_rows))
        if all(isinstance(record, Record) for record in newest):
            log.info("%s: taken over from a writer that was killed, with %d rows", path, n_rows)
            return file
    except (StoreError, OSError, RuntimeError, KeyError, ValueError) as error:
        log.warning("%s: cannot be gone on with: %s", path, error)
    file.close()
    return None


def _open_or_recover(path: Path) -> StoreFile:
    try:
        return open_for_writing(path)
    except BlockingIOError as error:
        raise StoreError(
            f"{path}: another program keeps it open", fix="Close it, or let it open the file with SWMR"
        ) from error
    except (OSError, RuntimeError) as refused:
        return _recovered(path, str(refused))


def _recovered(path: Path, why: str) -> StoreFile:
    try:
        done = recover(path)
    except StoreError as error:
        raise StoreError(
            f"{path}: not a store that can be read ({why})",
            fix="Move the file aside; the spool and a fresh store will take its place",
        ) from error
    level = logging.ERROR if done.n_damaged else logging.WARNING
    log.log(level, "%s: recovered %d rows, %d damaged", path, done.n_rows, done.n_damaged)
    with hdf5_errors(path, "opening the recovered store"):
        return open_for_writing(path)


def recover(path: Path, *, on_rows: Callable[[int], None] | None = None) -> Recovery:
    """Rebuild the store at ``path`` in the newest layout from its valid rows, in place of the old file.

    Rows come by the ledger where there is one, whatever HDF5 makes of the file, and else by HDF5. The old
    file is kept beside the new one (``.damaged``) when a row could not be saved. Raises StoreError if it
    is no store or nothing of it can be read.
    """
    unfinished = path.with_name(path.name + ".recovering")
    unfinished.unlink(missing_ok=True)
    known = salvage(path)
    with ExitStack() as stack, hdf5_errors(path, "reading it for recovery"):
        try:
            file = stack.enter_context(open_for_reading(path, damaged=True))
            n_committed, energies_ev, packed, file_id = _seen_by_hdf5(path, file)
            old: StoreFile | None = file
        except (StoreError, OSError, RuntimeError, KeyError, ValueError):
            if known is None:
                raise
            old, n_committed, file_id = None, 0, known.file_id
            energies_ev, packed = known.energies_ev, known.packed
        log.info("%s: copying %d rows, each verified", path, n_committed)
        records = known.records if known and known.file_id == file_id else iter(())
        copied = write_store(
            unfinished, energies_ev, _each(old, n_committed, records), packed=packed, on_rows=on_rows
        )
    old_file = None
    if copied.damaged:
        old_file = path.with_name(path.name + ".damaged")
        old_file.unlink(missing_ok=True)
        os.link(path, old_file)
    publish(unfinished, path)
    _torn(path).unlink(missing_ok=True)
    return Recovery(copied.n_rows, copied.damaged, old_file)


def _seen_by_hdf5(path: Path, file: StoreFile) -> tuple[int, FloatArray, bool, str]:
    """Committed rows, energies, whether IPA and RPA are packed, and the id of the file."""
    check_layout(path, file)
    packed = is_packed(file["ipa/eps_real"])
    return committed_rows(file), file["energies_ev"][:], packed, str(file.attrs.get("file_id", ""))


def _each(
    old: StoreFile | None, n_committed: int, known: Iterator[Record | None]
) -> Iterator[Record | DamagedRow]:
    """Every row that one of the two can read, and what is damaged in both."""
    n_known = 0
    for index, record in enumerate(known):
        n_known = index + 1
        if record is not None:
            yield record
        elif old is not None and index < n_committed:
            yield sound_record(old, index)
        else:
            yield DamagedRow(index)
    if old is not None:
        for index in range(n_known, n_committed):
            yield sound_record(old, index)
