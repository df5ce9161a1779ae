"""How many bands to ask for next, and how many to use; the first guess is farm.basis'."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Depth of the free-electron-like bottom below the valence band maximum, for extrapolation only.
_BAND_BOTTOM_EV = 15.0
_RETRY_MARGIN = 1.04


def enlarge_nbnd(nbnd: int, reached_ev: float, window_ev: float) -> int:
    """The next number of bands after ``nbnd`` bands reached only ``reached_ev``; at least two more.

    Bands grow with E^(3/2) from the band bottom (free electrons), plus a small margin.
    """
    ratio: float = (window_ev + _BAND_BOTTOM_EV) / max(reached_ev + _BAND_BOTTOM_EV, 1.0)
    grown: float = nbnd * ratio**1.5 * _RETRY_MARGIN
    return max(nbnd + 2, math.ceil(grown))


def bands_to_window(energies: NDArray[np.float64], n_valence: int, window: float) -> int | None:
    """The fewest bands that reach a window above the valence band maximum at every k-point.

    None where all of them fall short.

    energies: shape ``(n_k, n_bands)``, in the unit of ``window``

    The local fields depend on the number of bands, so every way to a spectrum uses the same.
    """
    reached = energies.min(axis=0) - energies[:, n_valence - 1].max()
    if reached[-1] < window:
        return None
    return max(n_valence + 1, 1 + int(np.searchsorted(reached, window)))
