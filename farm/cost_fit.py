"""Cost models fitted to what the jobs in a store took."""

from __future__ import annotations

from collections import defaultdict

from farm.cost import cost_prior
from farm.cost_model import CostModel, model_key
from farm.errors import CrystalError, ProtocolError
from farm.job import Outcome
from farm.protocol import Protocol
from farm.store import Store
from farm.store.row import StoredRow

# A model forgets those before, and each asks for its symmetry: 3 ms.
MOST_ROWS = 400


def fit_to_store(store: Store, *, only: str | None = None, most: int = MOST_ROWS) -> dict[str, CostModel]:
    """One model for each engine and protocol, by ``model_key``, of its newest complete calculations.

    only: a key whose model alone is wanted; most: calculations for a model. Rows whose crystal or
    protocol this version cannot treat are left out. Raises StoreError where the store cannot be read.
    """
    groups: dict[tuple[str, str], list[StoredRow]] = defaultdict(list)
    for row in store.rows():
        if row.outcome is Outcome.DONE:
            groups[row.engine.value, row.protocol_hash].append(row)
    models: dict[str, CostModel] = {}
    for (engine, protocol_hash), rows in groups.items():
        key, protocol = model_key(engine, protocol_hash), _protocol(store.protocol(rows[-1].index))
        if protocol is not None and only in (None, key):
            models[key] = _fitted(store, rows[-most:], protocol)
    return models


def _fitted(store: Store, rows: list[StoredRow], protocol: Protocol) -> CostModel:
    model = CostModel()
    for row in rows:
        try:
            prior = cost_prior(store.crystal(row.index), protocol, row.engine)
        except CrystalError:
            continue
        model = model.observe(prior, {usage.stage: usage.cpu_s for usage in store.stages(row.index)})
    return model


def _protocol(fields: dict[str, object]) -> Protocol | None:
    try:
        return Protocol.from_dict(fields)
    except ProtocolError:
        return None
