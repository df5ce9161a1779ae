"""Sizes of the plane-wave problem of a cell: plane waves, FFT points, bands. Pure estimates."""

from __future__ import annotations

import math

from farm.units import BOHR_ANGSTROM, HARTREE_EV

# From 43 insulators of 1 to 4 atoms at 25 eV, whose own values are 0.43 +- 0.22 (wide gaps need less):
# at 0.65 one in ten needs a second run, and the median crystal carries three bands too many. A second
# run costs as much as the first, a band too many about 4 %.
_SPREAD_PER_AREA = 0.65  # bands per volume^(2/3) in square angstrom
_MARGIN_BANDS = 1


def count_plane_waves(volume_angstrom3: float, ecutwfc_ry: float) -> float:
    """Plane waves with |k+G|^2 below the cutoff: V k^3 / (6 pi^2), k = sqrt(E_Ry) in 1/bohr."""
    return volume_angstrom3 / BOHR_ANGSTROM**3 * math.pow(ecutwfc_ry, 1.5) / (6.0 * math.pi**2)


def count_fft_points(volume_angstrom3: float, ecutrho_ry: float) -> float:
    """Points of the smallest FFT box that holds the density: V (sqrt(E_Ry) / pi)^3."""
    return volume_angstrom3 / BOHR_ANGSTROM**3 * (math.sqrt(ecutrho_ry) / math.pi) ** 3


def estimate_nbnd(n_electrons: int, volume_angstrom3: float, window_ev: float) -> int:
    """A first number of bands so that every k reaches ``window_ev`` above the valence band maximum.

    n = n_occ + V k^3 / (6 pi^2) + a V^(2/3), k = sqrt(2 E): the occupied bands, the free-electron
    states below E (Weyl), and their spread over the zone, a surface term with one fitted factor.
    """
    wave_vector = math.sqrt(2.0 * window_ev / HARTREE_EV)
    bulk = volume_angstrom3 / BOHR_ANGSTROM**3 * wave_vector**3 / (6.0 * math.pi**2)
    spread = _SPREAD_PER_AREA * math.pow(volume_angstrom3, 2.0 / 3.0)
    return math.ceil(n_electrons / 2 + bulk + spread) + _MARGIN_BANDS
