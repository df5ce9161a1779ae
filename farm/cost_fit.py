"""Cost models fitted to what the jobs in a store took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from farm.cost import cost_prior
from farm.cost_model import CostModel, model_key
from farm.errors import CrystalError, ProtocolError, StoreError
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.store import Store, open_store
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


def learnt_of(
    store_path: Path, engine: Engine, protocol_hash: str, *, on_damage: Callable[[StoreError], None]
) -> CostModel:
    """What a store teaches of one kind of job; nothing where there is none, or none that can be read."""
    if not store_path.is_file():
        return CostModel()
    key = model_key(engine, protocol_hash)
    try:
        with open_store(store_path) as store:
            return fit_to_store(store, only=key).get(key, CostModel())
    except StoreError as error:
        on_damage(error)
        return CostModel()
