"""The ladder of one direction, rung by rung, agrees with the judgement of whole ladders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.spectrum import energy_grid_ev
from workers.gmax import judge_ladder
from workers.yambo.ladder import RungResult, join_directions, next_gmax

ENERGIES = energy_grid_ev(101, 20.0)
GMAX = (0, 2000, 4000, 6000, 8000)
THRESHOLD = 0.9


def _rung(shift: float, n_g: int = 9) -> RungResult:
    imaginary = np.exp(-((ENERGIES - 8 - shift) ** 2))
    return RungResult(n_g=n_g, eps=2 + 1j * imaginary)


def _climb(shifts: list[float]) -> dict[int, RungResult]:
    """The rungs that are computed when rung n has its peak shifted by ``shifts[n]``."""
    done = {GMAX[0]: _rung(shifts[0]), GMAX[1]: _rung(shifts[1])}
    while (gmax := next_gmax(done, GMAX, ENERGIES, THRESHOLD)) is not None:
        done[gmax] = _rung(shifts[GMAX.index(gmax)])
    return done


@pytest.mark.parametrize(
    ("shifts", "last"),
    [
        ([0, 1, 1.01, 1.01, 1.01], 4000),
        # The first rung is never accepted alone, however little it changes.
        ([0, 0.001, 0.002, 0, 0], 4000),
        ([0, 0.001, 1.0, 1.01, 0], 6000),
        # A null step proves nothing.
        ([0, 1, 1, 1.01, 0], 6000),
        ([0, 0, 0, 0, 0], 8000),
        ([0, 1, 2, 3, 4], 8000),
    ],
)
def test_ladder_ends_where_it_may(shifts: list[float], last: int) -> None:
    assert max(_climb(shifts)) == last


def test_ladder_begins_with_its_rungs_in_order() -> None:
    assert next_gmax({}, GMAX, ENERGIES, THRESHOLD) == 0
    assert next_gmax({0: _rung(0)}, GMAX, ENERGIES, THRESHOLD) == 2000
    assert next_gmax({0: _rung(0), 2000: _rung(0.01)}, GMAX, ENERGIES, THRESHOLD) == 4000


@given(st.lists(st.floats(0, 2), min_size=5, max_size=5))
def test_verdict_is_that_of_the_whole_ladder_so_far(shifts: list[float]) -> None:
    done = _climb(shifts)
    eps = np.repeat(np.array([done[g].eps for g in sorted(done)])[:, None], 3, axis=1)
    verdict = judge_ladder(sorted(done), eps, ENERGIES, THRESHOLD)
    # It ended at the first rung that is accepted, or at the top without one.
    assert verdict.converged_gmax_mry[0] in (max(done), None)
    if verdict.converged_gmax_mry[0] is None:
        assert max(done) == GMAX[-1]


def test_directions_are_joined_without_changing_their_verdicts() -> None:
    fast, slow = _climb([0, 1, 1.01, 0, 0]), _climb([0, 1, 2, 3, 3.01])
    data = join_directions([fast, fast, slow], ENERGIES, 100.0)
    assert data.gmax_mry == GMAX
    assert data.eps.shape == (5, 3, 101)
    assert np.array_equal(data.eps[4, 0], fast[4000].eps)
    assert np.array_equal(data.eps[4, 2], slow[8000].eps)
    verdict = judge_ladder(data.gmax_mry, data.eps, ENERGIES, THRESHOLD)
    assert verdict.converged_gmax_mry == (4000, 4000, 8000)
