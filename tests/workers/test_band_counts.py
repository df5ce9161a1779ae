"""How many of the bands enter a response: the fewest that reach the window."""

from __future__ import annotations

import numpy as np
import pytest

from workers.bands import bands_to_window

# Two k-points, one filled band; the valence band maximum is 1.
ENERGIES = np.array([[0.0, 3.0, 6.0, 9.0], [1.0, 4.0, 5.0, 10.0]])


@pytest.mark.parametrize(
    ("window", "expected"), [(1.0, 2), (2.0, 2), (2.1, 3), (4.0, 3), (4.1, 4), (8.0, 4)]
)
def test_fewest_bands_that_reach_at_every_kpoint(window: float, expected: int) -> None:
    assert bands_to_window(ENERGIES, 1, window) == expected


def test_bands_that_fall_short() -> None:
    assert bands_to_window(ENERGIES, 1, 8.1) is None


def test_one_empty_band_at_least() -> None:
    assert bands_to_window(ENERGIES, 2, -3.0) == 3
