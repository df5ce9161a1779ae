"""Spectra: similarity as published, Kramers-Kronig and optics against a Lorentz oscillator."""

from __future__ import annotations

import numpy as np
import pytest

from farm.errors import InputError
from farm.spectrum import (
    Spectrum,
    absorption_per_cm,
    energy_grid_ev,
    equal_directions,
    kramers_kronig_real,
    loss_function,
    mean_absolute_error,
    mean_squared_error,
    reflectivity,
    refractive_index,
    similarity_coefficient,
)

ENERGIES = energy_grid_ev()


def lorentz(centre_ev: float, width_ev: float = 0.3, plasma_ev: float = 5.0) -> np.ndarray:
    """eps of one damped oscillator, whose real and imaginary parts are known in closed form."""
    return 1 + plasma_ev**2 / (centre_ev**2 - ENERGIES**2 - 1j * width_ev * ENERGIES)


def test_directions_of_equal_spectra() -> None:
    eps = np.array([[1.0, 2j], [1.0005, 2j], [1.0, 3j]])
    assert equal_directions(eps) == [[0, 1], [2]]
    # Equal at every step of a ladder.
    assert equal_directions(np.stack([eps, eps[[0, 2, 2]]])) == [[0], [1], [2]]
    assert equal_directions(np.zeros((3, 2), dtype=complex)) == [[0, 1, 2]]


def test_the_grid_is_the_published_one() -> None:
    assert ENERGIES.shape == (2001,)
    assert (ENERGIES[0], ENERGIES[1], ENERGIES[-1]) == (0.0, pytest.approx(0.01), 20.0)


def test_similarity_is_one_for_equal_and_asymmetric() -> None:
    flat = np.ones(2001)
    assert similarity_coefficient(flat, flat, ENERGIES) == 1.0
    assert similarity_coefficient(2 * flat, flat, ENERGIES) == pytest.approx(0.0)
    assert similarity_coefficient(flat, 2 * flat, ENERGIES) == pytest.approx(0.5)


def test_similarity_of_disjoint_peaks_is_minus_one() -> None:
    low, high = np.where(ENERGIES < 5, 1.0, 0.0), np.where(ENERGIES > 15, 1.0, 0.0)
    assert similarity_coefficient(low, high, ENERGIES) == pytest.approx(-1.0, abs=0.01)


def test_a_zero_reference_is_refused() -> None:
    with pytest.raises(InputError, match="zero everywhere"):
        similarity_coefficient(np.ones(2001), np.zeros(2001), ENERGIES)


def test_errors_are_means_over_points() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 6.0])
    assert mean_squared_error(x, y) == pytest.approx(13 / 3)
    assert mean_absolute_error(x, y) == pytest.approx(5 / 3)


def test_kramers_kronig_gives_the_oscillator_s_real_part() -> None:
    eps = lorentz(6.0)
    real = kramers_kronig_real(eps.imag, ENERGIES)
    inner = ENERGIES < 15  # the missing tail above 20 eV matters near the end
    assert np.abs(real - eps.real)[inner].max() < 0.02 * np.abs(eps.real).max()
    assert real[0] == pytest.approx(eps.real[0], rel=0.01)


def test_kramers_kronig_takes_many_spectra_at_once() -> None:
    stack = np.stack([lorentz(4.0).imag, lorentz(8.0).imag])
    both = kramers_kronig_real(stack, ENERGIES)
    assert np.allclose(both[1], kramers_kronig_real(stack[1], ENERGIES))


def test_optics_of_a_transparent_medium() -> None:
    eps = np.full(2001, 4.0 + 0j)
    assert np.allclose(refractive_index(eps), 2.0)
    assert np.allclose(reflectivity(eps), 1 / 9)
    assert np.allclose(absorption_per_cm(eps, ENERGIES), 0.0)
    assert np.allclose(loss_function(eps), 0.0)


def test_absorption_in_per_cm() -> None:
    # k = 1 at 1 eV: alpha = 4 pi k / lambda with lambda = 1239.84 nm.
    eps = np.full(2001, (1.0 + 1.0j) ** 2)
    at_1_ev = absorption_per_cm(eps, ENERGIES)[100]
    assert at_1_ev == pytest.approx(4 * np.pi / 1239.84198e-7, rel=1e-6)


def test_the_loss_peaks_where_eps_crosses_zero() -> None:
    eps = lorentz(0.01, width_ev=0.2, plasma_ev=10.0)  # a Drude metal: its plasmon is at 10 eV
    assert ENERGIES[np.argmax(loss_function(eps))] == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_spectrum_holds_finite_numbers_only(bad: float) -> None:
    eps = np.ones((3, 2001), dtype=complex)
    eps[1, 7] = bad
    with pytest.raises(InputError, match="not finite"):
        Spectrum(ENERGIES, eps)


def test_a_spectrum_has_three_directions_on_its_grid() -> None:
    with pytest.raises(InputError, match=r"\(3, 2001\)"):
        Spectrum(ENERGIES, np.ones((3, 2000), dtype=complex))
