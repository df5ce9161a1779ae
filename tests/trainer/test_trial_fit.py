"""`farm train`: one fit, measured on what was held out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.errors import InputError
from trainer.recipes import FROM_SCRATCH
from trainer.split import split_crystals
from trainer.trial import trial

FAST = {"epochs": 4, "lr": 1e-2, "threads": 1}


@pytest.mark.parametrize(("kind", "rung"), [("base", "ipa"), ("direct", "rpa"), ("transfer", "rpa")])
def test_each_kind_is_measured_on_its_rung(kind, rung, dataset_of, small_config, monkeypatch):
    # The base under a transfer keeps its own number of epochs: shorten it here.
    monkeypatch.setattr("trainer.trial.FROM_SCRATCH", replace(FROM_SCRATCH, epochs=4))
    dataset = dataset_of(30)
    document = trial(dataset, kind, FAST, config=small_config)
    assert set(document["metrics"]) == {rung, "ipa_as_rpa"}
    assert document["metrics"][rung]["n"] == split_crystals(dataset.crystals).held_out.size
    assert document["plan"]["epochs"] == document["epochs"] == 4
    assert document == trial(dataset, kind, FAST, config=small_config) | {"seconds": document["seconds"]}


def test_too_little_is_an_input_error_that_counts(dataset_of, small_config):
    with pytest.raises(InputError, match="too few") as error:
        trial(dataset_of(3), "direct", FAST, config=small_config)
    assert "more" in error.value.fix
