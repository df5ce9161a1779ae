"""Records into and out of an open file; who opens it, and when rows become valid, is said elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.store.bands import BandEnds, band_ends, read_bands, write_bands
from farm.store.layout import ROW_DTYPE, SPECTRA, STEP_SPECTRA, TEXTS, grow
from farm.store.record import Record, checksum


@dataclass(frozen=True)
class Ends:
    """Where the next row, byte of text, ladder step and band structure go."""

    rows: int = 0
    text: int = 0
    steps: int = 0
    bands: BandEnds = field(default_factory=BandEnds)


def committed_rows(file: Any) -> int:
    """How many rows are valid."""
    return int(file["committed"][0])


def committed_ends(file: Any) -> Ends:
    """The ends of what is committed; debris of an interrupted append beyond them is written over."""
    n_rows = committed_rows(file)
    if n_rows == 0:
        return Ends()
    last = file["rows"][n_rows - 1]
    text_end = int(file["text_offsets"][n_rows - 1, -1])
    step_end = int(last["first_step"]) + int(last["n_steps"])
    return Ends(n_rows, text_end, step_end, band_ends(file["bands/paths"][n_rows - 1]))


def write_records(file: Any, records: Sequence[Record], ends: Ends) -> Ends:
    """Write placed records behind ``ends``; nothing is valid before the counter says so."""
    rows = np.concatenate([record.row for record in records])
    offsets = _text_offsets(records, ends.text)
    text = np.frombuffer(b"".join(b"".join(record.texts) for record in records), dtype=np.uint8)
    steps = np.concatenate([record.steps for record in records])
    bands = write_bands(file, ends.rows, [record.bands for record in records], ends.bands)
    new = Ends(ends.rows + rows.size, ends.text + text.size, ends.steps + steps.size, bands)
    for names, length in (
        (("rows", "text_offsets", *SPECTRA), new.rows),
        (("text",), new.text),
        (("ladder/steps", *STEP_SPECTRA), new.steps),
    ):
        for name in names:
            grow(file[name], length)
    file["rows"][ends.rows : new.rows] = rows
    file["text"][ends.text : new.text] = text
    file["text_offsets"][ends.rows : new.rows] = offsets
    for row_index, record in enumerate(records, start=ends.rows):
        _write_rung(file, "ipa", row_index, record.ipa)
        _write_rung(file, "rpa", row_index, record.rpa)
    if steps.size:
        step_eps = np.concatenate([record.step_eps for record in records])
        file["ladder/steps"][ends.steps : new.steps] = steps
        file["ladder/eps_real"][ends.steps : new.steps] = step_eps[:, 0]
        file["ladder/eps_imag"][ends.steps : new.steps] = step_eps[:, 1]
    return new


def read_record(file: Any, row_index: int, row: NDArray[np.void] | None = None) -> Record:
    """The record in row ``row_index``; ``row`` (shape ``(1,)``) saves reading the table again."""
    if row is None:
        row = file["rows"][row_index : row_index + 1]
    first = int(row["first_step"][0])
    steps = slice(first, first + int(row["n_steps"][0]))
    real, imag = file["ladder/eps_real"][steps], file["ladder/eps_imag"][steps]
    return Record(
        row=np.asarray(row, dtype=ROW_DTYPE),
        texts=read_texts(file, row_index),
        steps=file["ladder/steps"][steps],
        step_eps=np.stack([real, imag], axis=1),
        bands=read_bands(file, row_index),
    )


def read_texts(file: Any, row_index: int) -> tuple[bytes, ...]:
    """All texts of a row, in the order of ``layout.TEXTS``; empty where the file's layout has none."""
    (texts,) = read_columns(file, row_index, row_index + 1, range(len(TEXTS)))
    return texts


def read_columns(file: Any, start: int, stop: int, columns: Sequence[int]) -> Iterator[tuple[bytes, ...]]:
    """Some texts of the rows ``start`` to ``stop - 1``, in one reading; ``columns``: places in TEXTS."""
    offsets = file["text_offsets"][start:stop]
    first = int(offsets[0, 0])
    blob = file["text"][first : int(offsets[-1, -1])].tobytes()
    # A row of an older layout ends with its last text: the others begin and end there.
    lacking = len(TEXTS) + 1 - offsets.shape[1]
    offsets = np.pad(offsets - first, ((0, 0), (0, lacking)), mode="edge")
    for row in offsets.tolist():
        yield tuple(blob[row[column] : row[column + 1]] for column in columns)


def gather(dataset: Any, wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows in any order, read as the longest runs there are: HDF5's own point lists are slow."""
    if not wanted.size:
        return np.empty((0, *dataset.shape[1:]), dtype=np.float32)
    unique, inverse = np.unique(wanted, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    read = np.concatenate([dataset[int(run[0]) : int(run[-1]) + 1] for run in runs])
    if np.array_equal(unique, wanted):
        return np.asarray(read)
    return np.asarray(read[inverse])


def is_sound(file: Any, row_index: int, record: Record) -> bool:
    """Whether a record read back is what was written: its checksum, and both copies of each spectrum."""
    if checksum(record) != int(record.row["crc32"][0]):
        return False
    for rung, eps in (("ipa", record.ipa), ("rpa", record.rpa)):
        if eps is not None:
            held = [file[f"{rung}/eps_{part}"][row_index] for part in ("real", "imag")]
            if not np.array_equal(np.stack(held), eps):
                return False
    return True


def _text_offsets(records: Sequence[Record], start: int) -> NDArray[np.int64]:
    lengths = np.array([[len(text) for text in record.texts] for record in records], dtype=np.int64)
    ends = start + lengths.cumsum().reshape(lengths.shape)
    first = np.concatenate([[start], ends[:-1, -1]])
    return np.column_stack([first, ends])


def _write_rung(file: Any, rung: str, row_index: int, eps: NDArray[np.float32] | None) -> None:
    if eps is not None:
        file[f"{rung}/eps_real"][row_index] = eps[0]
        file[f"{rung}/eps_imag"][row_index] = eps[1]
