"""Members together: their mean, one by one or in one pass, and never with weights of yesterday."""

from __future__ import annotations

import copy

import pytest
import torch

from trainer.networks.architectures import model_of, new_model
from trainer.networks.ensemble import Ensemble, member_spectra
from trainer.networks.graph import collate, crystal_graph, crystal_graphs
from trainer.networks.network import predict_spectra
from trainer.networks.oscillators import OscillatorConfig

OSCILLATORS = OscillatorConfig(width=16, layers=2, heads=2, hidden=(32,), n_oscillators=40, n_energies=41)


@pytest.fixture(params=["optimate", "oscillators"])
def ensemble(request, small_config):
    config = small_config if request.param == "optimate" else OSCILLATORS
    return Ensemble([new_model(config, seed) for seed in range(3)]).eval()


def test_one_pass_gives_what_one_member_after_the_other_gives(ensemble, wurtzite, rock_salt):
    graphs = crystal_graphs([wurtzite, *(rock_salt("Mg", "O", 4.0 + 0.1 * n) for n in range(9))])
    many = member_spectra(ensemble, graphs)
    few = torch.cat([member_spectra(ensemble, [graph]) for graph in graphs])
    by_hand = torch.stack([predict_spectra(member, graphs) for member in ensemble.members], dim=1)
    assert many.shape == (10, 3, 41)
    assert torch.allclose(many, by_hand, atol=1e-5)
    assert torch.allclose(few, by_hand, atol=1e-5)
    assert torch.allclose(predict_spectra(ensemble, graphs), by_hand.mean(dim=1), atol=1e-5)
    assert not torch.allclose(many[:, 0], many[:, 1], atol=1e-3)


def test_new_weights_are_used_at_once(ensemble, wurtzite):
    graph = collate([crystal_graph(wurtzite)])
    with torch.no_grad():
        before = ensemble.each(graph)
        state = {name: 2.0 * value for name, value in ensemble.state_dict().items()}
        ensemble.load_state_dict(state)
        loaded = ensemble.each(graph)
        expected = torch.stack([member(graph).clamp(min=0.0) for member in ensemble.members], dim=1)
    assert torch.allclose(loaded, expected, atol=1e-5)
    assert not torch.allclose(loaded, before, atol=1e-3)
    with torch.no_grad():
        doubled = graph.clone().apply(lambda x: x.double() if x.is_floating_point() else x)
        assert ensemble.double().each(doubled).dtype == torch.float64


def test_its_state_makes_it_again(ensemble, wurtzite):
    again = model_of(ensemble.config, copy.deepcopy(ensemble.state_dict())).eval()
    assert isinstance(again, Ensemble)
    graphs = [crystal_graph(wurtzite)]
    assert torch.equal(member_spectra(again, graphs), member_spectra(ensemble, graphs))
    single = model_of(ensemble.config, ensemble.first.state_dict())
    assert not isinstance(single, Ensemble)
