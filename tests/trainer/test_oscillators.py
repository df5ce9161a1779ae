"""Oscillators: what physics asks of any spectrum holds with any weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from farm.crystal import Crystal
from farm.spectrum import energy_grid_ev, kramers_kronig_real
from trainer.networks.architectures import new_model
from trainer.networks.graph import N_COLUMNS, collate, crystal_graph, crystal_graphs
from trainer.networks.network import predict_spectra
from trainer.networks.oscillators import (
    PLASMA_EV2_ANGSTROM3,
    OscillatorConfig,
    oscillator_energies_ev,
    oscillator_shapes,
)

CONFIG = OscillatorConfig(width=16, layers=2, heads=2, hidden=(32,), n_oscillators=80, n_energies=401)


@pytest.fixture
def model():
    """Weights far from those that a fit begins with: nothing may rest on small ones."""
    model = new_model(CONFIG, 3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def turned(crystal: Crystal, rotation: np.ndarray) -> Crystal:
    lattice = crystal.lattice @ rotation.T
    return replace(crystal, lattice_angstrom=tuple(tuple(row) for row in lattice.tolist()))


def low_symmetry() -> Crystal:
    return Crystal(
        material_id="triclinic",
        lattice_angstrom=((3.1, 0.0, 0.0), (0.7, 3.9, 0.0), (-0.4, 0.9, 4.6)),
        species=("Mg", "O", "Si"),
        frac_coords=((0.0, 0.0, 0.0), (0.45, 0.52, 0.38), (0.21, 0.77, 0.7)),
    )


def test_one_oscillator_has_unit_strength_and_obeys_kramers_and_kronig():
    # Far above the oscillator, where the integrals have converged.
    config = OscillatorConfig(n_oscillators=4, reach=0.05, energy_max_ev=200.0, n_energies=4001)
    energies_ev = energy_grid_ev(config.n_energies, config.energy_max_ev)
    for w_k, shape in zip(oscillator_energies_ev(config).tolist(), oscillator_shapes(config), strict=True):
        strength = np.trapezoid(energies_ev * shape.imag.numpy(), energies_ev)
        assert strength == pytest.approx(np.pi / 2, rel=5e-3)
        real = kramers_kronig_real(shape.imag.numpy(), energies_ev) - 1.0
        below = energies_ev < 2 * w_k + 3
        assert np.allclose(
            real[below], shape.real.numpy()[below], atol=0.01 * float(shape.real.abs().max())
        )


def test_no_weights_break_the_sum_rule_or_passivity(model, wurtzite, rock_salt):
    crystals = [wurtzite, rock_salt("Li", "F", 4.0), rock_salt("K", "Br", 6.6), low_symmetry()]
    energies_ev = energy_grid_ev(CONFIG.n_energies)
    with torch.no_grad():
        spectra = model(collate(crystal_graphs(crystals)))
    assert spectra.min() >= 0.0
    for crystal, spectrum in zip(crystals, spectra.numpy(), strict=True):
        electrons = (crystal_graph(crystal).x[:, :N_COLUMNS] * torch.arange(1.0, 9.0)).sum().item()
        plasma_ev2 = PLASMA_EV2_ANGSTROM3 * electrons / crystal.volume_angstrom3
        strength = np.trapezoid(energies_ev * spectrum, energies_ev)
        assert 0.0 < strength < CONFIG.bound * np.pi / 2 * plasma_ev2


def test_real_part_is_the_kramers_kronig_transform_of_the_imaginary(wurtzite):
    # All strength below the end of a long grid, where the transform on the grid is complete.
    config = replace(CONFIG, energy_max_ev=80.0, reach=0.25, n_energies=2001)
    model = new_model(config, 0).eval()
    graph = crystal_graph(wurtzite)
    with torch.no_grad():
        imag, real = model(graph)[0].double().numpy(), model.eps_real(graph)[0].double().numpy()
    again = kramers_kronig_real(imag, energy_grid_ev(2001, 80.0))
    low = slice(0, 700)
    assert np.abs(again[low] - real[low]).max() < 0.02 * np.abs(real[low] - 1.0).max()


def test_directions_turn_with_the_crystal_and_average_to_the_spectrum(model):
    crystal = low_symmetry()
    graph = crystal_graph(crystal)
    with torch.no_grad():
        along, mean = model.diagonal(graph)[0], model(graph)[0]
        assert torch.allclose(along.mean(dim=0), mean, atol=1e-5 * float(mean.max()))
        assert along.min() >= 0.0
        assert (along[0] - along[2]).abs().max() > 0.02 * mean.max()
        # A quarter turn about z: x becomes y, and -y becomes x.
        quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        other = model.diagonal(crystal_graph(turned(crystal, quarter)))[0]
    assert torch.allclose(other[[1, 0, 2]], along, atol=1e-5 * float(mean.max()))


def test_tensor_turns_with_any_rotation(model):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]

    def tensor(crystal: Crystal) -> np.ndarray:
        graph = crystal_graph(crystal)
        with torch.no_grad():
            pooled, nodes = model._pooled(graph)
            xx, yy, zz, yz, xz, xy = model.anisotropy(graph, nodes, model.trunk(pooled))[0].numpy().T
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]).transpose(2, 0, 1)

    before, after = tensor(low_symmetry()), tensor(turned(low_symmetry(), rotation))
    assert np.allclose(after, rotation @ before @ rotation.T, atol=1e-4)
    assert np.allclose(np.trace(before, axis1=1, axis2=2), 3.0, atol=1e-5)
    assert np.linalg.eigvalsh(before).min() > -1e-5
    assert np.abs(before[:, 0, 1]).max() > 0.01


def test_symmetry_of_the_crystal_is_that_of_its_tensor(model, wurtzite, rock_salt):
    with torch.no_grad():
        cubic = model.diagonal(crystal_graph(rock_salt("Mg", "O", 4.2)))[0]
        uniaxial = model.diagonal(crystal_graph(wurtzite))[0]
    assert torch.allclose(cubic, cubic.mean(dim=0), atol=1e-5 * float(cubic.max()))
    assert torch.allclose(uniaxial[0], uniaxial[1], atol=1e-4 * float(uniaxial.max()))
    assert (uniaxial[0] - uniaxial[2]).abs().max() > 0.01 * uniaxial.max()


def test_a_supercell_gives_the_spectrum_of_its_cell(model, wurtzite):
    doubled = Crystal(
        material_id="doubled",
        lattice_angstrom=(
            *wurtzite.lattice_angstrom[:2],
            tuple(2 * x for x in wurtzite.lattice_angstrom[2]),
        ),
        species=wurtzite.species * 2,
        frac_coords=tuple((x, y, (z + n) / 2) for n in range(2) for x, y, z in wurtzite.frac_coords),
    )
    one, other = predict_spectra(model, crystal_graphs([wurtzite, doubled]))
    assert torch.allclose(one, other, atol=1e-4 * float(one.max()))


def test_config_survives_its_card():
    assert OscillatorConfig.from_dict(CONFIG.to_dict()) == CONFIG
