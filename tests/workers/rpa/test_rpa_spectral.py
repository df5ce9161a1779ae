"""Binning and the Dyson step against direct sums on random transitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from farm.units import HARTREE_EV
from workers.rpa import spectral
from workers.rpa.device import Device, NumpyDevice, TorchDevice
from workers.rpa.dyson import kernel, macroscopic
from workers.rpa.spectral import SpectralMatrix, energy_nodes

ETA = 0.3 / HARTREE_EV
PHOTON = np.linspace(0, 20, 101) / HARTREE_EV
N_TRANSITIONS, N_SAMPLES, SIZE = 300, 2, 6


@pytest.fixture
def transitions() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    # Up to 90 eV: beyond the uniform part of the nodes.
    energies = rng.uniform(2.0, 90.0, N_TRANSITIONS) / HARTREE_EV
    return energies, 0.02 * rng.normal(size=(N_TRANSITIONS, N_SAMPLES, SIZE))


def direct(energies: np.ndarray, x: np.ndarray) -> np.ndarray:
    g = kernel(PHOTON, energies, ETA, "time-ordered")
    return np.eye(SIZE) - np.einsum("tsi,wt,tsj->wij", x, g, x)


def binned(device: Device, energies: np.ndarray, x: np.ndarray, **options: Any) -> SpectralMatrix:
    nodes = energy_nodes(energies.min(), energies.max(), PHOTON[-1], ETA)
    matrix = SpectralMatrix(device, nodes, N_SAMPLES, SIZE, **options)
    for part in np.array_split(np.arange(len(energies)), 7):
        matrix.reserve(energies[part])[:] = device.put(x[part].astype(np.float32))
    return matrix


def test_weights_of_a_transition_sum_to_one_and_reproduce_cubics() -> None:
    nodes = energy_nodes(0.05, 3.0, 0.7, 0.01)
    energies = np.linspace(0.05, 3.0, 997)
    first, weights = nodes.weights(energies)
    assert first.min() >= 0
    assert first.max() + 3 < nodes.count
    assert weights.sum(axis=1) == pytest.approx(np.ones(len(energies)))
    inside = energies < 0.7
    cubic = nodes.energies[first[:, None] + np.arange(4)] ** 3
    assert (weights * cubic).sum(axis=1)[inside] == pytest.approx(energies[inside] ** 3, rel=1e-9)


def test_high_transitions_cost_few_nodes() -> None:
    near, far = (energy_nodes(0.1, e / HARTREE_EV, PHOTON[-1], ETA).count for e in (25, 250))
    assert far < 1.5 * near


@pytest.mark.parametrize("device", [NumpyDevice(), TorchDevice("cpu")], ids=["numpy", "torch"])
@pytest.mark.parametrize(("buffer_bytes", "slab_rows"), [(1, 96), (10**6, 4), (10**6, 1)])
def test_binned_response_is_the_direct_sum(
    transitions: tuple[np.ndarray, np.ndarray],
    device: Device,
    buffer_bytes: int,
    slab_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spectral, "_SLAB_ROWS", slab_rows)
    matrix = binned(device, *transitions, buffer_bytes=buffer_bytes)
    g = kernel(PHOTON, matrix.nodes.energies, ETA, "time-ordered")
    ours = macroscopic(device, matrix.finish(), g, 1, (0, 2, 5))
    eps = direct(*transitions)
    for i, end in enumerate((1, 3, 6)):
        expected = 1 / np.linalg.inv(eps[:, :end, :end])[:, 0, 0]
        assert np.abs(ours[i, 0] - expected).max() < 2e-4 * np.abs(expected).max()


def test_single_precision_and_frequency_blocks_change_nothing(
    transitions: tuple[np.ndarray, np.ndarray],
) -> None:
    device = NumpyDevice()
    whole = binned(device, *transitions)
    g = kernel(PHOTON, whole.nodes.energies, ETA, "retarded")
    expected = macroscopic(device, whole.finish(), g, 2, (0, 4))
    single = binned(device, *transitions, dtype=np.float32).finish()
    assert single[0].dtype == np.float32
    found = macroscopic(device, single, g, 2, (0, 4), block_bytes=16 * SIZE * SIZE * 9)
    assert np.allclose(found, expected, rtol=0, atol=1e-5)


def test_green_functions_differ_by_the_static_offset() -> None:
    energy = np.array([0.3])
    ordered, retarded = (kernel(PHOTON, energy, ETA, f) for f in ("time-ordered", "retarded"))
    assert retarded[0].imag == pytest.approx(0.0, abs=1e-14)
    assert ordered[0, 0].imag == pytest.approx(-2 * ETA / (energy[0] ** 2 + ETA**2))
    assert ordered[0].real == pytest.approx(retarded[0].real)
