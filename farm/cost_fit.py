"""Cost models fitted to what the jobs in a store took."""

from __future__ import annotations

from farm.cost import cost_prior
from farm.cost_model import CostModel, model_key
from farm.errors import CrystalError, ProtocolError
from farm.job import Outcome
from farm.protocol import Protocol
from farm.store import Store

# More change a prediction by less than its error, and each asks for its symmetry: 3 ms.
MOST_ROWS = 500


def fit_to_store(store: Store, *, only: str | None = None, most: int = MOST_ROWS) -> dict[str, CostModel]:
    """One model for each engine and protocol, by ``model_key``, of its newest complete calculations.

    only: a key whose model alone is wanted; most: calculations for a model. Rows whose crystal or
    protocol this version cannot treat are left out. Raises StoreError where the store cannot be read.
    """
    keys: dict[str, str] = {}
    protocols: dict[str, Protocol | None] = {}
    models: dict[str, CostModel] = {}
    for row in reversed(list(store.rows())):
        if row.outcome is not Outcome.DONE:
            continue
        name = f"{row.engine}.{row.protocol_hash}"
        if name not in keys:
            fields = store.protocol(row.index)
            keys[name] = model_key(row.engine, fields)
            protocols[name] = _protocol(fields)
        key, protocol = keys[name], protocols[name]
        model = models.get(key, CostModel())
        if protocol is None or only not in (None, key) or model.n_observed >= most:
            continue
        try:
            prior = cost_prior(store.crystal(row.index), protocol, row.engine)
        except CrystalError:
            continue
        seconds = {usage.stage: usage.cpu_s for usage in store.stages(row.index)}
        models[key] = model.observe(prior, seconds)
    return models


def _protocol(fields: dict[str, object]) -> Protocol | None:
    try:
        return Protocol.from_dict(fields)
    except ProtocolError:
        return None
