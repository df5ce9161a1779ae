"""A refit whose trainer is told to stop: no failure is counted, and nothing waits for a lease."""

from __future__ import annotations

from typing import Any

import pytest

import trainer.fitting.refit
from farm.backlog import Backlog
from farm.settings import Settings
from trainer.tasks import run_refit


def test_a_trainer_that_leaves_gives_its_refit_back(
    backlog: Backlog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        assert backlog.roster.refit_state()["state"] == "running"
        raise SystemExit(0)

    monkeypatch.setattr(trainer.fitting.refit, "refit", stopped)
    backlog.roster.set_refit_state(state="queued", failures=1)
    with pytest.raises(SystemExit):
        run_refit(20, backlog, settings)
    state = backlog.roster.refit_state()
    assert (state["state"], state["failures"]) == ("idle", "1")
    assert "n_rpa" not in state
