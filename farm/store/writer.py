"""The one writer of a store: results in, each durable when ``append`` returns."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from farm.errors import InputError, ResultRefusedError, StoreError
from farm.job import Outcome
from farm.result import Result
from farm.spectrum import FloatArray
from farm.store.creation import create_file, grid_text
from farm.store.gathering import read_table
from farm.store.layout import fsync_path, hdf5_errors
from farm.store.ledger import Ledger
from farm.store.ownership import Ownership
from farm.store.record import Key, Record, encode, supersedes
from farm.store.recovery import open_for_appending, say_torn
from farm.store.row import StoreCounts
from farm.store.spool import Spool, spool_of
from farm.store.store_file import StoreFile
from farm.store.tables import Ends, committed_ends, place, write_records

log = logging.getLogger(__name__)

# Rows written between two forced writes to disk when many come at once.
BATCH_ROWS = 64


class _Held(NamedTuple):
    """What the writer remembers of the newest row of a key."""

    row: int
    outcome: Outcome
    crc32: int
    has_ipa: bool
    has_rpa: bool


_HELD = ("outcome", "crc32", "has_ipa", "has_rpa")


def _held(index: int, row: np.void) -> _Held:
    outcome = Outcome(row["outcome"].decode())
    return _Held(index, outcome, int(row["crc32"]), bool(row["has_ipa"]), bool(row["has_rpa"]))


def _packed(result: Result) -> bytes:
    try:
        return result.pack()
    except (OverflowError, TypeError, ValueError) as error:
        name = result.crystal.material_id
        raise ResultRefusedError(
            f"{name}: it cannot be sent: {error}", fix="Keep integers within 64 bits"
        ) from error


class StoreWriter:
    """Appends results to the store at ``path``, which is made with the first of them.

    Use it as a context manager. Opening makes this process the owner (StoreLockedError if another one is,
    on this host or on one that shares the directory), recovers a file whose writer was killed, copies one
    of an older layout into the newest, and takes in what waits in ``<path>.spool/``. Not for use from
    several threads. HDF5 does not let one process have the file open for writing and as a
    :class:`farm.store.Store` at the same time.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._spool = Spool(spool_of(self.path))
        self._file: StoreFile | None = None
        self._ledger: Ledger | None = None
        self._energies_ev: FloatArray | None = None
        self._ends = Ends()
        self._held: dict[Key, _Held] = {}
        # Kept along: the scheduler is told after every batch, however long the store is.
        self._materials: set[str] = set()
        self._n_ipa = self._n_rpa = 0
        self._broken = False
        self._owner = Ownership(self.path)
        try:
            if self.path.exists():
                self._open()
            self._spool.sweep()
            self.replay_spool()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def n_rows(self) -> int:
        """Committed rows, superseded ones included."""
        return self._ends.rows

    def counts(self) -> StoreCounts:
        """How much there is, as :meth:`farm.store.Store.counts` would say."""
        return StoreCounts(len(self._materials), self._n_ipa, self._n_rpa)

    def append(self, result: Result) -> bool:
        """Store one result; it is on the disk when this returns.

        False when its (material, protocol, engine) is held already and this does not supersede it
        (see :func:`farm.store.record.supersedes`): appending twice is appending once.

        Raises ResultRefusedError for a result that cannot be kept (another energy grid, numbers that
        are not finite), and StoreError when the disk refuses; then the result waits in the spool for
        the next opening.
        """
        record = encode(result)
        self._check_usable(result)
        if not self._is_news(record):
            return False
        spooled = self._spool.put(_packed(result), f"{time.time_ns():020d}-{os.getpid()}")
        self._store([record], result.energies_ev)
        spooled.unlink()
        return True

    def append_many(self, results: Iterable[Result]) -> int:
        """Store results in batches, durable when this returns; the number that was new.

        For imports, where the source can be read again: nothing goes through the spool.
        """
        n_stored = 0
        batch: list[Record] = []
        pending: set[Key] = set()
        for result in results:
            record = encode(result)
            self._check_usable(result)
            if record.key in pending or len(batch) == BATCH_ROWS:
                n_stored += self._store_batch(batch)
                batch, pending = [], set()
            if self._is_news(record):
                if self._file is None:
                    self._create(result.energies_ev)
                batch.append(record)
                pending.add(record.key)
        return n_stored + self._store_batch(batch)

    def replay_spool(self) -> int:
        """Store what waits in the spool; the number that was new. Unreadable files are set aside."""
        n_stored = 0
        for path in self._spool.waiting():
            try:
                result = Result.unpack(path.read_bytes())
                record = encode(result)
                self._check_usable(result)
            except (InputError, StoreError) as error:
                if self._broken:
                    raise
                log.warning("%s set aside: %s", self._spool.set_aside(path), error)
                continue
            if self._is_news(record):
                self._store([record], result.energies_ev)
                n_stored += 1
            path.unlink()
        return n_stored

    def close(self) -> None:
        """Close the file and give the lock back; again is allowed."""
        file, self._file = self._file, None
        ledger, self._ledger = self._ledger, None
        try:
            if ledger is not None:
                ledger.close()
            if file is not None:
                with hdf5_errors(self.path, "closing the store"):
                    file.close()
        finally:
            self._owner.release()

    def _open(self) -> None:
        self._file = file = open_for_appending(self.path, in_place=self._owner.follows_killed)
        with self._errors("opening the store"):
            self._energies_ev = file["energies_ev"][:]
            self._ledger = Ledger(self.path, file)
            self._ends = committed_ends(file)
            rows = read_table(file["rows"], 0, self._ends.rows)
            # By columns: a million rows one by one take ten seconds.
            columns = [rows[name].tolist() for name in ("material_id", "protocol_hash", "engine", *_HELD)]
            for index, (material, protocol, engine, outcome, *rest) in enumerate(
                zip(*columns, strict=True)
            ):
                key = (material.decode(), protocol.decode(), engine.decode())
                self._remember(key, _Held(index, Outcome(outcome.decode()), *rest))

    def _create(self, energies_ev: FloatArray) -> None:
        create_file(self.path, energies_ev)
        self._open()

    def _check_usable(self, result: Result) -> None:
        if self._owner.is_released:
            raise StoreError(f"{self.path}: this writer is closed", fix="Open a new one")
        if self._broken:
            raise StoreError(
                f"{self.path}: an earlier write failed", fix="Free disk space and start the writer again"
            )
        grid = result.energies_ev
        held = self._energies_ev
        if held is not None and (grid.size != held.size or not np.allclose(grid, held, rtol=0, atol=1e-9)):
            raise ResultRefusedError(
                f"{self.path} holds spectra on {grid_text(held)}, but {result.crystal.material_id} "
                f"has {grid_text(grid)}",
                fix="Use one energy grid a farm: start another FARM_HOME for this protocol",
            )

    def _is_news(self, record: Record) -> bool:
        held = self._held.get(record.key)
        return held is None or supersedes(
            record.outcome, int(record.row["crc32"][0]), held.outcome, held.crc32
        )

    def _store(self, records: list[Record], energies_ev: FloatArray) -> None:
        if self._file is None:
            self._create(energies_ev)
        self._store_batch(records)

    def _store_batch(self, records: list[Record]) -> int:
        """Data, then the counter, then everything forced to disk: a row is valid whole or not at all."""
        if not records:
            return 0
        if self._file is None or self._ledger is None:
            raise StoreError(f"{self.path}: this writer is closed", fix="Open a new one")
        self._owner.check()
        self._broken = True  # until the batch is through
        with self._errors("appending"):
            stored_unix_s = [self._clock()] * len(records)
            batch = place(records, self._ends, self._row_of, stored_unix_s)
            ends = write_records(self._file, batch, self._ends)
            self._file.flush()
            self._file["committed"][0] = ends.rows
            self._file.flush()
            fsync_path(self.path)
            self._ledger.add(self._file, self._ends.rows, ends.rows)
        self._broken = False
        for index, record in enumerate(records, start=self._ends.rows):
            self._remember(record.key, _held(index, record.row[0]))
        self._ends = ends
        return len(records)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """StoreError for what h5py raises, and a mark for the next writer where metadata are torn."""
        try:
            with hdf5_errors(self.path, doing):
                yield
        except StoreError as error:
            say_torn(self.path, error)
            raise

    def _row_of(self, key: Key) -> int:
        """The row of a key that counts; -1: none."""
        held = self._held.get(key)
        return -1 if held is None else held.row

    def _remember(self, key: Key, held: _Held) -> None:
        before = self._held.get(key)
        self._n_ipa += held.has_ipa - (before.has_ipa if before else False)
        self._n_rpa += held.has_rpa - (before.has_rpa if before else False)
        self._materials.add(key[0])
        self._held[key] = held
