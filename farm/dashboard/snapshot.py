"""What the store holds at one moment, as the lists show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from farm.dashboard.row_texts import RowTexts
from farm.dashboard.table import Table
from farm.failures import NOT_DONE, by_diagnosis
from farm.job import Outcome
from farm.store import Store
from farm.tally import Told, tally

if TYPE_CHECKING:
    import pandas as pd


# Of a snapshot's frame, beside those of the store's.
TEXT_COLUMNS = ("space_group", "diagnosis", "reason")


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """The store at one moment.

    frame:        ``Store.frame()`` with the columns space_group, diagnosis and reason
    table:        the same to be searched and sorted
    counts:       materials, and spectra on each rung
    not_done:     as in :func:`farm.tally.tally`, metals left out
    remedies:     as there
    by_diagnosis: how many materials failed or are unconverged, by what went wrong
    """

    frame: pd.DataFrame
    table: Table
    counts: dict[str, int]
    not_done: list[dict[str, Any]] = field(default_factory=list)
    remedies: list[dict[str, Any]] = field(default_factory=list)
    by_diagnosis: dict[str, int] = field(default_factory=dict)


def take_snapshot(store: Store, texts: Sequence[RowTexts]) -> Snapshot:
    """Of the current rows of a store and the texts of all its rows. Raises StoreError."""
    import pandas as pd

    frame = store.frame()
    said = [texts[row] for row in frame.index.tolist()]
    for name in TEXT_COLUMNS:
        frame[name] = pd.array([getattr(each, name) or None for each in said], dtype="string")
    ends = list(zip(frame["material_id"].tolist(), frame["outcome"].tolist(), said, strict=True))
    # Most rows are done and needed no remedy: nothing of them is summed here.
    summed = tally(
        Told(material, outcome, "", "", text.corrections, text.diagnosis, text.advice, text.reason)
        for material, outcome, text in ends
        if outcome != Outcome.DONE or len(text.corrections) > len("[]")
    )
    counts, table = store.counts(), Table.of_frame(frame)
    table.prepare()
    return Snapshot(
        frame=frame,
        table=table,
        counts={"materials": counts.materials, "ipa": counts.ipa, "rpa": counts.rpa},
        not_done=[ended for ended in summed["not_done"] if ended["outcome"] in NOT_DONE],
        remedies=summed["remedies"],
        by_diagnosis=by_diagnosis(text.diagnosis for _, outcome, text in ends if outcome in NOT_DONE),
    )
