"""Where a material stands: its rows in the store, and what comes before and after it in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.dashboard.query import Query
from farm.store import Store, StoredRow

if TYPE_CHECKING:
    from farm.dashboard.snapshot import Snapshot


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Ids of the materials around one in the table; empty at its ends."""

    before: str = ""
    after: str = ""


def rows_of(store: Store, material_id: str) -> list[StoredRow]:
    """The current rows of a material, the newest first: under each protocol, by each engine."""
    return [store.row_at(index) for index in reversed(store.select(material_id=material_id).tolist())]


def neighbours(snapshot: Snapshot | None, query: Query, material_id: str) -> Neighbours:
    """Of a material in the table as it was asked for; several rows of one material count as one."""
    if snapshot is None:
        return Neighbours()
    ids, order = snapshot.table.material_ids, snapshot.table.select(query)
    places = np.flatnonzero(np.isin(order, np.flatnonzero(ids == material_id)))
    if not places.size:
        return Neighbours()
    before = (ids[order[i]] for i in range(int(places[0]) - 1, -1, -1))
    after = (ids[order[i]] for i in range(int(places[0]) + 1, order.size))
    return Neighbours(
        before=next((str(other) for other in before if other != material_id), ""),
        after=next((str(other) for other in after if other != material_id), ""),
    )
