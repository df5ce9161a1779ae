"""The store read: while it is being written, from any number of processes, always consistent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from farm.bandstructure import BandStructure
from farm.crystal import Crystal
from farm.errors import InputError, StoreError
from farm.job import Engine, Outcome, Stage, make_job_id
from farm.result import LadderStep, Result, StageUsage
from farm.rung import Rung
from farm.spectrum import FloatArray
from farm.store.bands import decode_bands, read_bands
from farm.store.gathering import gather, gather_into, read_table
from farm.store.layout import (
    TEXTS,
    check_layout,
    growing,
    hdf5_errors,
    in_newest_form,
    repeats_ends,
)
from farm.store.opening import open_for_reading
from farm.store.record import Key, decode, decode_ladder, key_of
from farm.store.row import StoreCounts, StoredRow, stored_row
from farm.store.row_table import Conditions, RowTable
from farm.store.tables import committed_rows, is_sound, read_columns, read_record, read_texts
from farm.store.texts import blocks, places, texts_of


class Store:
    """A consistent view of the store: the rows committed when it was opened or last refreshed.

    Rows are numbered from 0 in the order of arrival; of rows with the same (material, protocol,
    engine) the newest is *current*. Every method raises StoreError where the file cannot be read.
    Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._table = RowTable()
        self._open()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; again is allowed."""
        self._file.close()

    @property
    def n_rows(self) -> int:
        """Rows of this view, superseded ones included: grows with every result, never shrinks."""
        return len(self._table)

    def refresh(self) -> int:
        """Take in what was committed meanwhile; the number of rows. Indices stay valid.

        After the recovery of a damaged file, rows that were lost make the later ones move up.
        """
        with hdf5_errors(self.path, "reading"):
            status = self.path.stat()
            if (status.st_dev, status.st_ino) != self._identity:  # a recovered copy took its place
                self.close()
                self._table = RowTable()
                self._open()
            else:
                self._load()
        return self.n_rows

    def counts(self) -> StoreCounts:
        """How much there is; for `farm status`."""
        return self._table.store_counts()

    def keys(self) -> set[Key]:
        """Every (material id, protocol hash, engine) held, whatever its outcome."""
        return self._table.keys()

    def held_job_ids(self) -> set[str]:
        """The jobs that are answered, whatever the outcome."""
        return {make_job_id(*key) for key in self.keys()}

    def failed_job_ids(self) -> set[str]:
        """Of these the ones that have failed: they brought nothing that is of use to another."""
        return {make_job_id(*key_of(self._table.rows[i])) for i in self.select(outcome=Outcome.FAILED)}

    def snapshot_hash(self) -> str:
        """SHA-256 over the current rows' keys and checksums: equal views give equal hashes."""
        return self._table.content_hash(self._energies_ev.tobytes())

    @property
    def energies_ev(self) -> FloatArray:
        """Photon energies of all spectra, shape ``(n_energies,)``, eV."""
        return self._energies_ev.copy()

    def rows(self, *, superseded: bool = False) -> Iterator[StoredRow]:
        """The current rows in order of arrival; with ``superseded`` also those a retry replaced."""
        indices = range(self.n_rows) if superseded else self.indices().tolist()
        return (stored_row(i, self._table.rows[i]) for i in indices)

    def indices(self) -> NDArray[np.int64]:
        """The current rows in order of arrival, as ``spectra``, ``result`` and the others take them."""
        return self._table.indices()

    def select(self, **conditions: Unpack[Conditions]) -> NDArray[np.int64]:
        """The current rows that fulfil all conditions given, in order of arrival.

        A million rows take some ten milliseconds a condition. For others compare :meth:`column` arrays.
        """
        return self._table.select(**conditions)

    def row(
        self, material_id: str, protocol_hash: str | None = None, engine: Engine | None = None
    ) -> StoredRow | None:
        """The newest row of a material, under one protocol and engine if given; None: not held."""
        found = self.select(material_id=material_id, protocol_hash=protocol_hash, engine=engine)
        return stored_row(int(found[-1]), self._table.rows[found[-1]]) if found.size else None

    def row_at(self, index: int) -> StoredRow:
        """One row by its index."""
        return stored_row(index, self._at(index))

    def spectra(self, indices: Sequence[int]) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """IPA and RPA spectra of rows that have both.

        Each complex64 ``[row, direction, energy]`` in the order of ``indices``. Raises StoreError
        naming the first row that lacks one.
        """
        return self.ipa_spectra(indices), self.rpa_spectra(indices)

    def ipa_spectra(self, indices: Sequence[int]) -> NDArray[np.complex64]:
        """IPA spectra, complex64 ``[row, direction, energy]``."""
        return self._spectra(Rung.IPA, indices)

    def rpa_spectra(self, indices: Sequence[int]) -> NDArray[np.complex64]:
        """RPA spectra, complex64 ``[row, direction, energy]``."""
        return self._spectra(Rung.RPA, indices)

    def eps_imag(self, rung: Rung, indices: Sequence[int]) -> NDArray[np.float32]:
        """Im eps alone, float32 ``[row, direction, energy]``: half of what is to be read for both parts."""
        wanted = self._having(rung, indices)
        with hdf5_errors(self.path, f"reading {rung.upper()} spectra"):
            return gather(self._file[f"{rung}/eps_imag"], wanted)

    def crystal(self, index: int) -> Crystal:
        """The crystal of a row."""
        return Crystal.from_dict(self._json(index, "crystal"))

    def crystal_json(self, index: int) -> str:
        """The crystal of a row as the JSON text of ``Crystal.to_dict``."""
        return self._text(index, "crystal")

    def protocol(self, index: int) -> dict[str, Any]:
        """All fields of the protocol of a row."""
        return dict(self._json(index, "protocol"))

    def stages(self, index: int) -> tuple[StageUsage, ...]:
        """What each stage of a row cost."""
        return tuple(StageUsage(**(s | {"stage": Stage(s["stage"])})) for s in self._json(index, "stages"))

    def reason(self, index: int) -> str:
        """Why a row is not done, in one sentence; empty where it is."""
        return self._text(index, "reason")

    def column(self, name: str) -> NDArray[Any]:
        """One field of /rows (see ``layout.ROW_DTYPE``) for all current rows, in order of arrival."""
        return self._table.column(name)

    def frame(self, kind: str = "pandas", *, crystal: bool = False) -> Any:
        """The current rows as a ``pandas.DataFrame``, or as a ``polars.DataFrame`` where ``kind`` says so.

        Columns are those of ``frame.COLUMNS``, and with ``crystal`` of ``frame.CRYSTAL_COLUMNS`` and what
        sources say of the structures. The index, in polars the column ``row``, is what ``spectra`` and the
        others take. Raises InputError for another kind, MissingProgramError where the package is missing.
        """
        from farm.store.frame import frame_of

        return frame_of(self, kind, crystal=crystal)

    def texts(self, *columns: str) -> Iterator[tuple[str, ...]]:
        """Some texts (see ``layout.TEXTS``) of all current rows, in order of arrival.

        As they are kept, empty where a row does not say: reading 100,000 of them takes a second.
        """
        wanted = places(columns)
        for start, stop in blocks(self.n_rows):
            with hdf5_errors(self.path, f"reading texts of rows {start} to {stop - 1}"):
                rows = read_columns(self._file, start, stop, wanted)
                texts = zip(rows, self._table.counts[start:stop], strict=True)
                block = [tuple(text.decode() for text in row) for row, counts in texts if counts]
            yield from block

    def texts_of(self, indices: Sequence[int], *columns: str) -> list[tuple[str, ...]]:
        """Some texts of some rows, in the order of ``indices``."""
        for index in indices:
            self._at(index)
        with hdf5_errors(self.path, f"reading texts of {len(indices)} rows"):
            return texts_of(self._file, indices, columns)

    def ladder(self, index: int) -> tuple[LadderStep, ...]:
        """Every rung of a row's local-field ladder."""
        self._at(index)
        with hdf5_errors(self.path, f"reading the ladder of row {index}"):
            record = read_record(self._file, index, self._table.rows[index : index + 1])
            return decode_ladder(record.steps, record.step_eps)

    def band_structure(self, index: int) -> BandStructure | None:
        """The bands of a row along its path of high symmetry; None: it has none."""
        self._at(index)
        with hdf5_errors(self.path, f"reading the band structure of row {index}"):
            try:
                return decode_bands(read_bands(self._file, index))
            except InputError as error:
                raise ValueError(f"it is damaged: {error}") from error

    def result(self, index: int) -> Result:
        """The whole result of a row, as it was appended; its checksum is verified."""
        self._at(index)
        with hdf5_errors(self.path, f"reading row {index}"):
            record = read_record(self._file, index, self._table.rows[index : index + 1])
            if not is_sound(self._file, index, record):
                raise ValueError("its checksum does not fit")
            return decode(record)

    def _open(self) -> None:
        self._file = open_for_reading(self.path)
        try:
            with hdf5_errors(self.path, "opening the store"):
                check_layout(self.path, self._file)
                # Of the file that is open, not of the name: it may have been replaced just now.
                status = os.fstat(self._file.descriptor)
                self._identity = (status.st_dev, status.st_ino)
                self._energies_ev: FloatArray = self._file["energies_ev"][:]
                self._load()
        except BaseException:
            self._file.close()
            raise

    def _load(self) -> None:
        """Read the rows that are new. The counter first: whatever it covers is complete on disk."""
        self._file["committed"].refresh()
        n_rows, start = committed_rows(self._file), self.n_rows
        if n_rows == start:
            return
        for name in growing(self._file):
            self._file[name].refresh()
        fresh = in_newest_form(read_table(self._file["rows"], start, n_rows))
        if fresh.size != n_rows - start:
            raise ValueError(f"{n_rows} rows are committed, {start + fresh.size} are there")
        self._table.add(fresh, says_replaced=not repeats_ends(self._file))

    def _at(self, index: int) -> Any:
        if not 0 <= index < self.n_rows:
            raise StoreError(f"{self.path}: no row {index}", fix=f"It holds rows 0 to {self.n_rows - 1}")
        return self._table.rows[index]

    def _text(self, index: int, column: str) -> str:
        self._at(index)
        with hdf5_errors(self.path, f"reading {column} of row {index}"):
            return read_texts(self._file, index)[TEXTS.index(column)].decode()

    def _json(self, index: int, column: str) -> Any:
        text = self._text(index, column)
        with hdf5_errors(self.path, f"reading {column} of row {index}"):
            return json.loads(text)

    def _spectra(self, rung: Rung, indices: Sequence[int]) -> NDArray[np.complex64]:
        wanted = self._having(rung, indices)
        with hdf5_errors(self.path, f"reading {rung.upper()} spectra"):
            eps = np.empty((wanted.size, 3, self._energies_ev.size), dtype=np.complex64)
            gather_into(eps.real, self._file[f"{rung}/eps_real"], wanted)
            gather_into(eps.imag, self._file[f"{rung}/eps_imag"], wanted)
            return eps

    def _having(self, rung: Rung, indices: Sequence[int]) -> NDArray[np.int64]:
        """The same rows. Raises StoreError naming the first that is not there or lacks the rung."""
        wanted = np.asarray(indices, dtype=np.int64)
        for index in wanted[(wanted < 0) | (wanted >= self.n_rows)]:
            self._at(int(index))
        for index in wanted[~self._table.rows[f"has_{rung}"][wanted]]:
            raise StoreError(
                f"{self.path}: row {index} has no {rung.upper()} spectrum",
                fix=f"Ask only for rows whose has_{rung} is true",
            )
        return wanted


def open_store(path: Path) -> Store:
    """Open a store for reading. Raises StoreError when it is missing or no store of this layout."""
    return Store(path)
