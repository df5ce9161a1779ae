"""The ladder: the published rule, null steps, and the 2 Ry trap."""

from __future__ import annotations

import numpy as np
import pytest

from farm.errors import InputError
from workers.gmax import judge_ladder

ENERGIES = np.linspace(0.0, 20.0, 201)
GMAX = (0, 2000, 4000, 6000, 8000)


def ladder(*changes: float, directions: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """A spectrum whose integral changes by these fractions of the one before, step by step."""
    line = np.exp(-((ENERGIES - 8.0) ** 2))
    heights = np.cumprod([1.0, *(1 - c for c in changes)])
    still = np.cumprod([1.0] + [0.999] * len(changes))
    per_axis = [heights if d in directions else still for d in range(3)]
    return 1j * np.array(per_axis).T[:, :, None] * line + 1.0


def test_the_older_spectrum_is_the_reference() -> None:
    verdict = judge_ladder(GMAX[:3], ladder(0.5, 0.2), ENERGIES, 0.9)
    assert verdict.step_similarity[0] == pytest.approx((0.5, 0.5, 0.5))
    assert verdict.step_similarity[1] == pytest.approx((0.8, 0.8, 0.8))
    assert verdict.converged_gmax_mry == (None, None, None)
    assert not verdict.is_converged


def test_first_step_above_the_threshold_is_taken() -> None:
    verdict = judge_ladder(GMAX, ladder(0.3, 0.15, 0.05, 0.01), ENERGIES, 0.9)
    assert verdict.converged_gmax_mry == (6000, 6000, 6000)
    assert verdict.is_converged


def test_a_null_step_proves_nothing() -> None:
    # In-plane h-BN: 2 Ry adds nothing that couples, 4 Ry does; then a null step again at 6 Ry.
    verdict = judge_ladder(GMAX, ladder(0.0, 0.2, 0.0, 0.02), ENERGIES, 0.9)
    assert verdict.converged_gmax_mry == (8000, 8000, 8000)
    assert judge_ladder(GMAX[:2], ladder(0.0), ENERGIES, 0.9).converged_gmax_mry == (None,) * 3
    assert judge_ladder(GMAX[:3], ladder(0.1, 1e-7), ENERGIES, 0.9).converged_gmax_mry == (None,) * 3


def test_two_rydberg_are_never_accepted_alone() -> None:
    assert judge_ladder(GMAX[:2], ladder(0.01), ENERGIES, 0.9).converged_gmax_mry == (None,) * 3
    # 2 Ry looks better than 4 Ry (BeO along z).
    verdict = judge_ladder(GMAX, ladder(0.007, 0.13, 0.02, 0.01), ENERGIES, 0.9)
    assert verdict.converged_gmax_mry == (6000, 6000, 6000)


def test_an_accepted_step_agrees_with_the_last_one() -> None:
    verdict = judge_ladder(GMAX, ladder(0.3, 0.05, 0.06, 0.06), ENERGIES, 0.9)
    assert verdict.converged_gmax_mry == (6000, 6000, 6000)


def test_ipa_alone_has_nothing_to_converge() -> None:
    verdict = judge_ladder((0,), ladder(), ENERGIES, 0.9)
    assert verdict.step_similarity == ()
    assert verdict.converged_gmax_mry == (None, None, None)


def test_directions_are_judged_one_by_one() -> None:
    verdict = judge_ladder(GMAX, ladder(0.4, 0.3, 0.2, 0.15, directions=(2,)), ENERGIES, 0.9)
    assert verdict.converged_gmax_mry == (4000, 4000, None)
    assert not verdict.is_converged


@pytest.mark.parametrize("gmax", [(0, 2000), (0, 4000, 2000)])
def test_what_does_not_fit_is_refused(gmax: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="ascending Gmax"):
        judge_ladder(gmax, ladder(0.1, 0.1), ENERGIES, 0.9)
