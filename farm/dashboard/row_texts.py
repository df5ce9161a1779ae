"""The few texts of the store's rows that lists show, read once and kept: only new rows are read again."""

from __future__ import annotations

from typing import NamedTuple

from farm.store import Store

_COLUMNS = ("space_group", "diagnosis", "reason", "advice", "corrections")


class RowTexts(NamedTuple):
    """As they are kept; empty where a row does not say."""

    space_group: str
    diagnosis: str
    reason: str
    advice: str
    corrections: str


class TextMemory:
    """Texts of all rows of one file so far, superseded ones included; index: the row."""

    def __init__(self) -> None:
        self._rows: list[RowTexts] = []
        # Few differ: most rows say the same nothing.
        self._known: dict[str, str] = {}

    def take_in(self, store: Store) -> list[RowTexts]:
        """Read what is new. Raises StoreError."""
        if store.n_rows < len(self._rows):  # another file, or one that lost rows
            self._rows = []
        new = range(len(self._rows), store.n_rows)
        remembered = self._known.setdefault
        self._rows += [
            RowTexts(*(remembered(text, text) for text in texts))
            for texts in store.texts_of(new, *_COLUMNS)
        ]
        return self._rows
