"""Looking after a store: is it sound, mend it, make it small, a copy for others to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from farm.errors import StoreError
from farm.free_disk import free_disk_bytes
from farm.store.copying import DamagedRow, copy_store, sound_record
from farm.store.layout import check_layout, hdf5_errors, layout_version, publish, repeats_ends
from farm.store.opening import open_for_reading
from farm.store.ownership import Ownership
from farm.store.packing import is_packed
from farm.store.reader import open_store
from farm.store.record import Key, Record
from farm.store.recovery import Recovery, recover
from farm.store.spool import Spool, spool_of
from farm.store.tables import committed_rows
from farm.store.writer import StoreWriter

OnRows = Callable[[int], None] | None


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What a store is, told without reading its spectra.

    n_rows:      committed; n_current of them count, the others were replaced by a retry
    size_bytes:  of the file; datasets_bytes by the name of each what it takes of that
    n_waiting:   results in the spool, for the next writer
    n_set_aside: files in the spool that are no results
    """

    path: Path
    layout_version: int
    packed: bool
    n_rows: int
    n_current: int
    n_materials: int
    size_bytes: int
    datasets_bytes: dict[str, int]
    n_waiting: int
    n_set_aside: int


@dataclass(frozen=True)
class Verification:
    """What reading every row of a store has told.

    n_rows:    committed
    damaged:   rows that cannot be read, or are not what was written
    misplaced: rows that name a wrong one as the one they replace
    complaint: why the file as a whole is not well; empty: it is
    """

    n_rows: int
    damaged: tuple[DamagedRow, ...]
    misplaced: tuple[int, ...]
    complaint: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.damaged or self.misplaced or self.complaint)


@dataclass(frozen=True)
class Compaction:
    """Sizes of the file in bytes, rows that are left and rows that were replaced by others and are gone."""

    before_bytes: int
    after_bytes: int
    n_rows: int
    n_dropped: int


def facts(path: Path) -> StoreFacts:
    """What a store is. Raises StoreError when it is missing or cannot be read."""
    with open_store(path) as store:
        n_rows, n_current, n_materials = store.n_rows, store.indices().size, store.counts().materials
    with open_for_reading(path) as file, hdf5_errors(path, "reading its sizes"):
        sizes: dict[str, int] = {}
        file.visit(lambda name, dataset: sizes.update({name: dataset.id.get_storage_size()}))
        version, packed = layout_version(file), is_packed(file["ipa/eps_real"])
    spool = Spool(spool_of(path))
    return StoreFacts(
        path=path,
        layout_version=version,
        packed=packed,
        n_rows=n_rows,
        n_current=n_current,
        n_materials=n_materials,
        size_bytes=path.stat().st_size,
        datasets_bytes=sizes,
        n_waiting=sum(1 for _ in spool.waiting()),
        n_set_aside=sum(1 for _ in spool.set_aside_before()),
    )


def n_rows_to_read(path: Path) -> int | None:
    """How many rows the others here will read, for a progress bar; None where HDF5 cannot tell."""
    try:
        with open_for_reading(path, damaged=True) as file, hdf5_errors(path, "reading"):
            check_layout(path, file)
            return committed_rows(file)
    except StoreError:
        return None


def verify(path: Path, *, on_rows: OnRows = None) -> Verification:
    """Read every row and compare its checksum; also while a writer is at work.

    Raises StoreError when there is no store, or nothing of it can be read.
    """
    complaint = ""
    try:
        file = open_for_reading(path)
    except StoreError as error:
        complaint = error.message
        file = open_for_reading(path, damaged=True)
    with file, hdf5_errors(path, "verifying"):
        check_layout(path, file)
        damaged, misplaced, newest = [], [], dict[Key, int]()
        n_rows = committed_rows(file)
        for index in range(n_rows):
            record = sound_record(file, index)
            if isinstance(record, DamagedRow):
                damaged.append(record)
            else:
                if not repeats_ends(file) and _replaces(record) != newest.get(record.key, -1):
                    misplaced.append(index)
                newest[record.key] = index
            if on_rows is not None:
                on_rows(1)
    return Verification(n_rows, tuple(damaged), tuple(misplaced) if not damaged else (), complaint)


def repair(path: Path, *, on_rows: OnRows = None) -> tuple[Recovery, int]:
    """Copy the sound rows into a new file, then take in what waits in the spool.

    What was done, and how many results came from the spool. Where rows were lost, the old file stays
    beside the new one (``.damaged``). Raises StoreLockedError while a writer is at work, and StoreError
    where nothing can be saved.
    """
    _require_file(path)
    owner = Ownership(path)
    try:
        _require_space(path.parent, path.stat().st_size)
        recovery = recover(path, on_rows=on_rows)
    finally:
        owner.release()
    with StoreWriter(path) as writer:
        return recovery, writer.n_rows - recovery.n_rows


def compact(path: Path, *, packed: bool | None = None, on_rows: OnRows = None) -> Compaction:
    """Write the file anew without rows that others have replaced, and without debris.

    packed: keep IPA and RPA packed, or as floats (see :mod:`farm.store.packing`); None: as they are

    Readers go on with the old file until they refresh; then rows have other numbers. Raises
    StoreLockedError while a writer is at work, StoreError for a store that is damaged.
    """
    _require_file(path)
    owner = Ownership(path)
    unfinished = path.with_name(path.name + ".compacting")
    try:
        before = path.stat().st_size
        _require_space(path.parent, before)
        with open_store(path) as store:
            n_rows, current = store.n_rows, store.indices().tolist()
        _copy_whole(path, unfinished, current, packed, on_rows)
        publish(unfinished, path)
        return Compaction(before, path.stat().st_size, len(current), n_rows - len(current))
    finally:
        unfinished.unlink(missing_ok=True)
        owner.release()


def snapshot(path: Path, target: Path, *, on_rows: OnRows = None) -> int:
    """A copy of what is committed now, closed in order: for other hosts, and to keep; how many rows.

    Also while a writer is at work. It appears complete or not at all, in place of an older one. Raises
    StoreError for a store that is damaged, a target that is something else, or a full disk.
    """
    if target.exists():
        with open_for_reading(target) as older:
            check_layout(target, older)
        if target.samefile(path):
            raise StoreError(f"{target} is the store itself", fix="Give another name")
    unfinished = target.with_name(target.name + ".copying")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_space(target.parent, path.stat().st_size if path.exists() else 0)
        n_rows = _copy_whole(path, unfinished, None, None, on_rows)
        publish(unfinished, target)
        return n_rows
    except OSError as error:
        raise StoreError(f"{target}: {error}", fix="Choose a place that can be written") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _copy_whole(
    path: Path, target: Path, rows: Iterable[int] | None, packed: bool | None, on_rows: OnRows
) -> int:
    with open_for_reading(path) as old, hdf5_errors(path, "copying it"):
        check_layout(path, old)
        copied = copy_store(old, target, rows=rows, packed=packed, on_rows=on_rows)
    if copied.damaged:
        raise StoreError(
            f"{path}: {len(copied.damaged)} rows are damaged",
            fix="`farm store verify` names them, `farm store repair` saves the others",
        )
    return copied.n_rows


def _replaces(record: Record) -> int:
    return int(record.row["replaces"][0])


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise StoreError(f"{path}: there is no store yet", fix="It is made with the first result")


def _require_space(directory: Path, n_bytes: int) -> None:
    free = free_disk_bytes(directory)
    if free < n_bytes:
        raise StoreError(
            f"{directory}: {free / 1e9:.2f} GB are free, a copy may take {n_bytes / 1e9:.2f} GB",
            fix="Free disk space there",
        )
