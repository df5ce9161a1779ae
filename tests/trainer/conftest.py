"""Crystals and made-up spectra that a small network can learn in a second."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.spectrum import energy_grid_ev

with warnings.catch_warnings():
    # torch_geometric scripts some of its classes when imported, which torch now deprecates.
    warnings.simplefilter("ignore")
    import torch_geometric  # noqa: F401

from trainer.data.dataset import Dataset, TrainingRow, build_dataset
from trainer.networks.optimate import OptiMateConfig

N_ENERGIES = 41
CATIONS = ("Li", "Na", "K", "Be", "Mg", "Ca", "B", "Al", "Ga")
ANIONS = ("F", "Cl", "Br", "O", "S", "Se", "N", "P", "As")


def make_rock_salt(cation: str, anion: str, a_angstrom: float = 5.0) -> Crystal:
    """The primitive cell of rock salt."""
    h = a_angstrom / 2
    return Crystal(
        material_id=f"{cation}{anion}",
        lattice_angstrom=((0.0, h, h), (h, 0.0, h), (h, h, 0.0)),
        species=(cation, anion),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )


def make_wurtzite() -> Crystal:
    """Hexagonal AlN."""
    a, c = 3.11, 4.98
    return Crystal(
        material_id="AlN-wurtzite",
        lattice_angstrom=((a, 0.0, 0.0), (-a / 2, a * 3**0.5 / 2, 0.0), (0.0, 0.0, c)),
        species=("Al", "Al", "N", "N"),
        frac_coords=(
            (1 / 3, 2 / 3, 0.0),
            (2 / 3, 1 / 3, 0.5),
            (1 / 3, 2 / 3, 0.382),
            (2 / 3, 1 / 3, 0.882),
        ),
    )


def along_axes(mean: NDArray[np.float64]) -> NDArray[np.float32]:
    """Three directions that differ and have this mean, ``(3, n_energies)``."""
    return (np.array([0.5, 1.0, 1.5])[:, None] * mean).astype(np.float32)


def make_row(crystal: Crystal, protocol_hash: str = "p") -> TrainingRow:
    """One peak whose place depends on the elements; local fields move and lower it."""
    energies_ev = energy_grid_ev(N_ENERGIES)
    cation, anion = CATIONS.index(crystal.species[0]), ANIONS.index(crystal.species[1])
    peak_ev = 5.0 + 0.5 * cation + 0.7 * anion
    ipa = 8.0 * np.exp(-(((energies_ev - peak_ev) / 3.0) ** 2))
    rpa = 7.0 * np.exp(-(((energies_ev - peak_ev - 1.5) / 3.0) ** 2))
    return TrainingRow(
        crystal=crystal,
        ipa_eps_imag=along_axes(ipa),
        rpa_eps_imag=along_axes(rpa),
        protocol_hash=protocol_hash,
    )


def make_dataset(n_materials: int) -> Dataset:
    """The first of 81 compounds, in an order that mixes their elements."""
    pairs = [
        (c, a) for shift in range(9) for c, a in zip(CATIONS, ANIONS[shift:] + ANIONS[:shift], strict=True)
    ]
    rows = [make_row(make_rock_salt(c, a, 4.2 + 0.1 * i)) for i, (c, a) in enumerate(pairs[:n_materials])]
    return build_dataset(rows, energy_grid_ev(N_ENERGIES))


@pytest.fixture
def small_config() -> OptiMateConfig:
    return OptiMateConfig(embedding=(8,), attention=((8, 2), (8, 2)), output=(32,), n_energies=N_ENERGIES)


@pytest.fixture
def rock_salt() -> Callable[..., Crystal]:
    return make_rock_salt


@pytest.fixture
def wurtzite() -> Crystal:
    return make_wurtzite()


@pytest.fixture
def training_row() -> Callable[..., TrainingRow]:
    return make_row


@pytest.fixture(scope="session")
def dataset_of() -> Callable[[int], Dataset]:
    return make_dataset
