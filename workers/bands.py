"""How many bands to ask for next, from what the last run reached; the first guess is farm.basis'."""

from __future__ import annotations

import math

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
