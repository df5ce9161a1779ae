"""How many bands reach the energy window: a first guess, and the next one from what was seen."""

from __future__ import annotations

import math

from farm.units import BOHR_ANGSTROM, HARTREE_EV

# From 43 insulators of 1 to 4 atoms at 25 eV, whose own values are 0.43 +- 0.22 (wide gaps need less):
# at 0.65 one in ten needs a second run, and the median crystal carries three bands too many. A second
# run costs as much as the first, a band too many about 4 %.
_SPREAD_PER_AREA = 0.65  # bands per volume^(2/3) in square angstrom
_MARGIN_BANDS = 1

# Depth of the free-electron-like bottom below the valence band maximum, for extrapolation only.
_BAND_BOTTOM_EV = 15.0
_RETRY_MARGIN = 1.04


def estimate_nbnd(n_electrons: int, volume_angstrom3: float, window_ev: float) -> int:
    """A first number of bands so that every k reaches ``window_ev`` above the valence band maximum.

    n = n_occ + V k^3 / (6 pi^2) + a V^(2/3), k = sqrt(2 E): the occupied bands, the free-electron
    states below E (Weyl), and their spread over the zone, a surface term with one fitted factor.
    """
    wave_vector = math.sqrt(2.0 * window_ev / HARTREE_EV)
    bulk: float = volume_angstrom3 / BOHR_ANGSTROM**3 * wave_vector**3 / (6.0 * math.pi**2)
    spread: float = _SPREAD_PER_AREA * volume_angstrom3 ** (2.0 / 3.0)
    return math.ceil(n_electrons / 2 + bulk + spread) + _MARGIN_BANDS


def enlarge_nbnd(nbnd: int, reached_ev: float, window_ev: float) -> int:
    """The next number of bands after ``nbnd`` bands reached only ``reached_ev``; at least two more.

    Bands grow with E^(3/2) from the band bottom (free electrons), plus a small margin.
    """
    ratio: float = (window_ev + _BAND_BOTTOM_EV) / max(reached_ev + _BAND_BOTTOM_EV, 1.0)
    grown: float = nbnd * ratio**1.5 * _RETRY_MARGIN
    return max(nbnd + 2, math.ceil(grown))
