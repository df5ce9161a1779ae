"""Frozen parts stay bit for bit, statistics of normalisation too, and the others learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from farm.errors import InputError
from trainer.fitting.fit import fit
from trainer.fitting.plan import FitPlan
from trainer.networks.architectures import ARCHITECTURES, new_model
from trainer.networks.freezing import PARTS, frozen, modules_of
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig

PLAN = FitPlan(epochs=4, lr=1e-2, weight_decay=1e-2, batch_size=8, threads=1)
NONE = np.array([], dtype=np.int64)
CONFIGS = {
    "optimate": OptiMateConfig(
        embedding=(8, 8), attention=((8, 2), (8, 2)), output=(32, 16), n_energies=41
    ),
    "oscillators": OscillatorConfig(
        width=16, layers=2, heads=2, hidden=(32,), n_oscillators=20, dropout=0.2, n_energies=41
    ),
}


def states(model, parts):
    return [
        {name: value.clone() for name, value in module.state_dict().items()}
        for module in modules_of(model, parts)
    ]


def fitted(architecture, dataset, plan):
    model = new_model(CONFIGS[architecture], 0)
    before = {part: states(model, [part]) for part in PARTS}
    targets = dataset.ipa_diagonal if model.has_directions else dataset.ipa
    fit(model, dataset.graphs, targets, train=np.arange(len(dataset)), validation=NONE, plan=plan)
    return model, before


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_module_is_in_one_part(architecture):
    model = new_model(CONFIGS[architecture], 0)
    found = [module for part in PARTS for module in modules_of(model, [part])]
    assert all(modules_of(model, [part]) for part in PARTS)
    assert sorted(map(id, found)) == sorted(id(module) for module in model.children())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("held", [("embedding",), ("attention",), ("head",), ("embedding", "attention")])
def test_frozen_parts_stay_and_the_others_learn(architecture, held, dataset_of):
    model, before = fitted(architecture, dataset_of(16), replace(PLAN, frozen=held))
    for part in PARTS:
        same = all(
            torch.equal(was[name], value)
            for was, module in zip(before[part], modules_of(model, [part]), strict=True)
            for name, value in module.state_dict().items()
        )
        assert same == (part in held), part
    # It can be fitted again as a whole.
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_frozen_part_normalises_as_in_use(dataset_of):
    model = new_model(CONFIGS["optimate"], 0)
    nodes = torch.cat([graph.x for graph in dataset_of(12).graphs])
    with frozen(model, ("embedding",)) as learn:
        learn()
        assert model.mlp1.training
        # By running statistics each site is by itself; by those of the batch it would not be.
        assert torch.allclose(model.mlp_init_node(nodes)[:2], model.mlp_init_node(nodes[:2]))
    model.train()
    assert not torch.allclose(model.mlp_init_node(nodes)[:2], model.mlp_init_node(nodes[:2]))


def test_nothing_left_and_unknown_parts_are_input_errors(dataset_of):
    with pytest.raises(InputError, match="nothing is left"):
        fitted("optimate", dataset_of(4), replace(PLAN, frozen=PARTS))
    with pytest.raises(InputError, match="no part gat1"):
        fitted("optimate", dataset_of(4), replace(PLAN, frozen=("gat1",)))


def test_recipes_without_frozen_parts_are_those_of_older_cards():
    assert "frozen" not in PLAN.recipe
    assert replace(PLAN, frozen=("head", "embedding")).recipe["frozen"] == ["embedding", "head"]
