"""Records into and out of an open file; who opens it, and when rows become valid, is said elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.store.bands import BandEnds, band_ends, read_bands, write_bands
from farm.store.layout import SPECTRA, STEP_SPECTRA, TEXT_CHUNK, TEXTS, grow, in_newest_form, repeats_ends
from farm.store.packing import kept_form, spectra_of
from farm.store.record import Key, Record, checksum, n_between, placed
from farm.store.store_file import StoreFile


@dataclass(frozen=True)
class Ends:
    """Where the next row, byte of text, ladder step, spectrum between two ends, and bands go."""

    rows: int = 0
    text: int = 0
    steps: int = 0
    between: int = 0
    bands: BandEnds = field(default_factory=BandEnds)


def committed_rows(file: StoreFile) -> int:
    """How many rows are valid."""
    return int(file["committed"][0])


def committed_ends(file: StoreFile) -> Ends:
    """The ends of what is committed, in a file of the newest layout; debris beyond them is written over."""
    n_rows = committed_rows(file)
    if n_rows == 0:
        return Ends()
    last = file["rows"][n_rows - 1]
    n_steps = int(last["n_steps"])
    return Ends(
        rows=n_rows,
        text=_whole_chunks(int(file["text_offsets"][n_rows - 1, -1])),
        steps=int(last["first_step"]) + n_steps,
        between=int(last["first_between"]) + n_between(n_steps),
        bands=band_ends(file["bands/paths"][n_rows - 1]),
    )


def place(
    records: Sequence[Record], ends: Ends, replaced: Callable[[Key], int], stored_unix_s: Sequence[float]
) -> list[Record]:
    """Records of different keys with their places behind ``ends``.

    replaced: the row of a key that counts so far, -1 for none
    """
    first_step, first_between, batch = ends.steps, ends.between, []
    for n, record in enumerate(records):
        batch.append(
            placed(
                record,
                row_index=ends.rows + n,
                first_step=first_step,
                first_between=first_between,
                replaces=replaced(record.key),
                stored_unix_s=stored_unix_s[n],
            )
        )
        first_step += record.steps.size
        first_between += n_between(record.steps.size)
    return batch


def write_records(file: StoreFile, records: Sequence[Record], ends: Ends) -> Ends:
    """Write placed records behind ``ends``; nothing is valid before the counter says so."""
    rows = np.concatenate([record.row for record in records])
    text, offsets = _joined_texts(records, ends.text)
    steps = np.concatenate([record.steps for record in records])
    between = np.concatenate([record.step_eps[1:-1] for record in records])
    bands = write_bands(file, ends.rows, [record.bands for record in records], ends.bands)
    new = Ends(
        ends.rows + rows.size,
        ends.text + text.size,
        ends.steps + steps.size,
        ends.between + len(between),
        bands,
    )
    for names, length in (
        (("rows", "text_offsets", *SPECTRA), new.rows),
        (("text",), new.text),
        (("ladder/steps",), new.steps),
        (STEP_SPECTRA, new.between),
    ):
        for name in names:
            grow(file[name], length)
    file["rows"][ends.rows : new.rows] = rows
    file["text"][ends.text : new.text] = text
    file["text_offsets"][ends.rows : new.rows] = offsets
    _write_rung(file, "ipa", ends.rows, [record.ipa for record in records])
    _write_rung(file, "rpa", ends.rows, [record.rpa for record in records])
    if steps.size:
        file["ladder/steps"][ends.steps : new.steps] = steps
    if len(between):
        for n, name in enumerate(STEP_SPECTRA):
            file[name][ends.between : new.between] = kept_form(file[name], between[:, n])
    return new


def read_record(file: StoreFile, row_index: int, row: NDArray[np.void] | None = None) -> Record:
    """The record in row ``row_index``; ``row`` (shape ``(1,)``) saves reading the table again."""
    if row is None:
        row = in_newest_form(file["rows"][row_index : row_index + 1])
    first = int(row["first_step"][0])
    return Record(
        row=row,
        texts=read_texts(file, row_index),
        steps=file["ladder/steps"][first : first + int(row["n_steps"][0])],
        step_eps=_read_step_eps(file, row_index, row[0]),
        bands=read_bands(file, row_index),
    )


def read_texts(file: StoreFile, row_index: int) -> tuple[bytes, ...]:
    """All texts of a row, in the order of ``layout.TEXTS``; empty where the file's layout has none."""
    (texts,) = read_columns(file, row_index, row_index + 1, range(len(TEXTS)))
    return texts


def read_columns(
    file: StoreFile, start: int, stop: int, columns: Sequence[int]
) -> Iterator[tuple[bytes, ...]]:
    """Some texts of the rows ``start`` to ``stop - 1``, in one reading; ``columns``: places in TEXTS."""
    offsets = file["text_offsets"][start:stop]
    first = int(offsets[0, 0])
    blob = file["text"][first : int(offsets[-1, -1])].tobytes()
    # A row of an older layout ends with its last text: the others begin and end there.
    lacking = len(TEXTS) + 1 - offsets.shape[1]
    offsets = np.pad(offsets - first, ((0, 0), (0, lacking)), mode="edge")
    for row in offsets.tolist():
        yield tuple(blob[row[column] : row[column + 1]] for column in columns)


def is_sound(file: StoreFile, row_index: int, record: Record) -> bool:
    """Whether a record read back is what was written: its checksum, and spectra that are there twice."""
    if checksum(record) != int(record.row["crc32"][0]):
        return False
    if repeats_ends(file):
        for rung, eps in (("ipa", record.ipa), ("rpa", record.rpa)):
            if eps is not None and not np.array_equal(_read_rung(file, rung, row_index), eps):
                return False
    return True


def _read_step_eps(file: StoreFile, row_index: int, row: Any) -> NDArray[np.float32]:
    """Float32 ``[step, re|im, direction, energy]``."""
    n_steps = int(row["n_steps"])
    if repeats_ends(file):
        steps = slice(int(row["first_step"]), int(row["first_step"]) + n_steps)
        return np.stack([file[name][steps] for name in STEP_SPECTRA], axis=1)
    n_energies = file["energies_ev"].shape[0]
    step_eps = np.empty((n_steps, 2, 3, n_energies), dtype="<f4")
    if row["has_ipa"]:
        step_eps[0] = _read_rung(file, "ipa", row_index)
    if row["has_rpa"]:
        step_eps[-1] = _read_rung(file, "rpa", row_index)
    if n_between(n_steps):
        first = int(row["first_between"])
        for n, name in enumerate(STEP_SPECTRA):
            step_eps[1:-1, n] = spectra_of(file[name], file[name][first : first + n_between(n_steps)])
    return step_eps


def _read_rung(file: StoreFile, rung: str, row_index: int) -> NDArray[np.float32]:
    """Float32 ``[re|im, direction, energy]``."""
    parts = (file[f"{rung}/eps_{part}"] for part in ("real", "imag"))
    return np.stack([spectra_of(part, part[row_index]) for part in parts])


def _write_rung(
    file: StoreFile, rung: str, first_row: int, spectra: Sequence[NDArray[np.float32] | None]
) -> None:
    """Write each run of rows that have the rung; chunks of the others are never made."""
    for n, part in enumerate(("real", "imag")):
        dataset = file[f"{rung}/eps_{part}"]
        run: list[NDArray[np.float32]] = []
        for row, eps in enumerate([*spectra, None], start=first_row):
            if eps is not None:
                run.append(eps[n])
            elif run:
                dataset[row - len(run) : row] = kept_form(dataset, np.stack(run))
                run = []


def _joined_texts(records: Sequence[Record], start: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts behind one another, each row's from the begin of a chunk on; where each begins and ends."""
    blob, offsets = bytearray(), []
    for record in records:
        ends = np.cumsum([0, *map(len, record.texts)]) + start + len(blob)
        offsets.append(ends)
        blob += b"".join(record.texts)
        blob += bytes(_whole_chunks(len(blob)) - len(blob))
    return np.frombuffer(blob, dtype=np.uint8), np.array(offsets, dtype=np.int64)


def _whole_chunks(n_bytes: int) -> int:
    return -(-n_bytes // TEXT_CHUNK) * TEXT_CHUNK
