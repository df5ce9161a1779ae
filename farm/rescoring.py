"""Predictions of what waits follow what was measured: the backlog is gone through a piece at a time."""

from __future__ import annotations

import logging

from farm.backlog import Backlog
from farm.cost_model import CostModel, model_key
from farm.job import QUEUES, split_job_id

LOGGER = logging.getLogger(__name__)

# Jobs predicted anew at a tick: some tens of milliseconds.
_STEP = 1000
# Observations before the first time, and growth until the next: a model that has seen a little more says
# nearly the same.
_FIRST_AT = 5
_GROWTH = 1.3


def rescoring_due(n_observed: int, n_before: int) -> bool:
    """Whether so many more measurements than last time ask for new predictions."""
    return n_observed >= max(_FIRST_AT, _GROWTH * n_before)


class Rescoring:
    """Goes through all queues whenever the cost models have learnt enough, one step a tick."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._models: dict[str, CostModel] = {}
        self._n_used = 0
        self._left: list[str] = []
        self._cursor = 0

    def step(self) -> int:
        """One piece of the work, if there is any; how many jobs got a new prediction."""
        if not self._left and not self._begin():
            return 0
        self._cursor, priors = self._backlog.ready_priors(self._left[0], self._cursor, _STEP)
        costs_s = {}
        for job_id, prior in priors.items():
            _, protocol, engine = split_job_id(job_id)
            model = self._models.get(model_key(engine, protocol))
            if model is not None:
                costs_s[job_id] = model.predict(prior).cpu_s
        if not self._cursor:
            self._left.pop(0)
        return self._backlog.rescore(costs_s)

    def _begin(self) -> bool:
        models = self._backlog.cost_models()
        n_observed = sum(model.n_observed for model in models.values())
        if n_observed < self._n_used:  # Redis was wiped: they learn anew
            self._n_used = 0
        if not rescoring_due(n_observed, self._n_used):
            return False
        LOGGER.info("costs: predicted anew from %d measured materials", n_observed)
        self._models, self._n_used = models, n_observed
        self._left, self._cursor = list(QUEUES), 0
        return True
