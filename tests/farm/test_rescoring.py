"""Predictions of what waits follow what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from farm.backlog import Backlog
from farm.cost_model import CostModel, model_key
from farm.cost_prior import CostPrior
from farm.job import Job
from farm.rescoring import Rescoring, rescoring_due
from farm.stage import Stage

MakeJob = Callable[..., Job]


def prior(seconds: float) -> CostPrior:
    """Of a job with as many seconds in each stage."""
    return CostPrior(cpu_s=(seconds, seconds, seconds), features=(0.0, 0.0, 0.0), memory_mb=100.0)


def learnt(factor: float, n: int) -> CostModel:
    """What jobs teach that take ``factor`` times what was predicted."""
    model = CostModel()
    for i in range(n):
        known = prior(1.0 + i)
        model = model.observe(known, dict.fromkeys(Stage, factor * (1.0 + i)))
    return model


@pytest.mark.parametrize(
    ("n_observed", "n_before", "due"), [(4, 0, False), (5, 0, True), (6, 5, False), (7, 5, True)]
)
def test_it_is_due_when_enough_was_learnt(n_observed: int, n_before: int, due: bool) -> None:
    assert rescoring_due(n_observed, n_before) is due


def test_ready_jobs_get_new_predictions_and_keep_the_places_they_were_given(
    backlog: Backlog, make_job: MakeJob
) -> None:
    jobs = [replace(make_job(f"M{i}", 3.0 * i), prior=prior(float(i))) for i in range(1, 6)]
    backlog.enqueue(jobs)
    backlog.prioritise([jobs[4].job_id])
    backlog.set_cost_model(model_key(jobs[0].engine, jobs[0].protocol_hash), learnt(4.0, 40))
    rescoring = Rescoring(backlog)
    n_new = sum(rescoring.step() for _ in range(20))
    assert n_new == 5
    views = {view.material_id: view for view in backlog.jobs()}
    for i in range(1, 6):
        assert views[f"M{i}"].predicted_cpu_s == pytest.approx(12.0 * i, rel=0.3)
    assert [job_id.split(".")[0] for job_id in backlog.ready_order()] == ["M5", "M1", "M2", "M3", "M4"]
    to_go = sum(view.predicted_cpu_s for view in views.values())
    assert backlog.cpu_s()[1] == pytest.approx(to_go, rel=1e-6)
    assert sum(rescoring.step() for _ in range(20)) == 0  # nothing new was learnt
