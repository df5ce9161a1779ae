"""What no dielectric function of an insulator can be."""

from __future__ import annotations

import numpy as np
import pytest

from workers.plausibility import implausible

GOOD = np.array([2.0 + 0.0j, 3.0 + 1.0j, 0.5 + 2.0j, 0.7 - 0.01j])


@pytest.mark.parametrize(
    ("eps", "words"),
    [
        (GOOD, None),
        (GOOD.real + 0j, "Im eps is nowhere positive"),
        (GOOD - np.array([0, 0, 0, 0.02j]), "Im eps falls to -0.03, its maximum is 2"),
        (GOOD - 1.5, "Re eps(0) is 0.5, below 1"),
    ],
)
def test_what_is_refused(eps: np.ndarray, words: str | None) -> None:
    assert implausible(eps) == words
