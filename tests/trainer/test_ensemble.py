"""Members together: their mean, what each says, and the same again from their weights."""

from __future__ import annotations

import copy

import pytest
import torch

from trainer.networks.architectures import model_of, new_model
from trainer.networks.ensemble import Ensemble, member_spectra
from trainer.networks.graph import crystal_graph, crystal_graphs
from trainer.networks.network import predict_spectra
from trainer.networks.oscillators import OscillatorConfig

OSCILLATORS = OscillatorConfig(width=16, layers=2, heads=2, hidden=(32,), n_oscillators=40, n_energies=41)


@pytest.fixture(params=["optimate", "oscillators"])
def ensemble(request, small_config):
    config = small_config if request.param == "optimate" else OSCILLATORS
    return Ensemble([new_model(config, seed) for seed in range(3)]).eval()


def test_a_prediction_is_the_mean_of_its_members(ensemble, wurtzite, rock_salt):
    graphs = crystal_graphs([wurtzite, *(rock_salt("Mg", "O", 4.0 + 0.1 * n) for n in range(9))])
    found = member_spectra(ensemble, graphs)
    by_hand = torch.stack([predict_spectra(member, graphs) for member in ensemble.members], dim=1)
    assert found.shape == (10, 3, 41)
    assert torch.allclose(found, by_hand, atol=1e-5)
    assert torch.allclose(predict_spectra(ensemble, graphs), by_hand.mean(dim=1), atol=1e-5)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3)
    single = member_spectra(ensemble.first, graphs)
    assert torch.equal(single[:, 0], predict_spectra(ensemble.first, graphs))


def test_its_state_makes_it_again(ensemble, wurtzite):
    again = model_of(ensemble.config, copy.deepcopy(ensemble.state_dict())).eval()
    assert isinstance(again, Ensemble)
    graphs = [crystal_graph(wurtzite)]
    assert torch.equal(member_spectra(again, graphs), member_spectra(ensemble, graphs))
    single = model_of(ensemble.config, ensemble.first.state_dict())
    assert not isinstance(single, Ensemble)
