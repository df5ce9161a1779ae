"""Texts of many rows, read in blocks: they lie behind one another, and one by one costs a seek each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from farm.store.layout import TEXTS
from farm.store.store_file import StoreFile
from farm.store.tables import read_columns

# Rows whose texts are read at once: some 10 MB.
BLOCK_ROWS = 4096


def places(columns: Iterable[str]) -> list[int]:
    """Where the texts with these names stand in a row."""
    return [TEXTS.index(column) for column in columns]


def blocks(n_rows: int) -> Iterator[tuple[int, int]]:
    """First row and end of each block."""
    for start in range(0, n_rows, BLOCK_ROWS):
        yield start, min(start + BLOCK_ROWS, n_rows)


def texts_of(file: StoreFile, rows: Sequence[int], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Some texts of some rows that are there, in the order of ``rows``."""
    wanted = places(columns)
    of_block: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        of_block[row // BLOCK_ROWS].append(row)
    found: dict[int, tuple[str, ...]] = {}
    for few in of_block.values():
        first = min(few)
        block = list(read_columns(file, first, max(few) + 1, wanted))
        found |= {row: tuple(text.decode() for text in block[row - first]) for row in few}
    return [found[row] for row in rows]
