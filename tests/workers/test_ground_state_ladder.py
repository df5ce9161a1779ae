"""The cutoff and k-grid ladders: pure, so every history can be tried."""

from __future__ import annotations

import re
from math import prod

import pytest

from farm.crystal import Crystal
from farm.protocol import PRESETS, Protocol
from workers.convergence import Converged, GaveUp, Ladder, Next, Rung, make_ladder, next_rung

LADDER = Ladder(cutoffs_ry=(60, 65, 70), kgrids=((4, 4, 4), (6, 6, 6), (8, 8, 8)), tolerance_ev=0.04)


def rung(cutoff: int, n: int = 4) -> Rung:
    return Rung(ecutwfc_ry=cutoff, kgrid=(n, n, n))


def test_cutoff_first_then_grid_and_the_smaller_of_each_pair() -> None:
    energies: dict[Rung, float] = {}
    asked = []
    values = {
        rung(60): -100.0,
        rung(65): -100.2,
        rung(70): -100.21,
        rung(65, 6): -100.3,
        rung(65, 8): -100.31,
    }
    while isinstance(step := next_rung(energies, LADDER), Next):
        asked.append(step.rung)
        energies[step.rung] = values[step.rung]
    assert asked == [rung(60), rung(65), rung(70), rung(65, 6), rung(65, 8)]
    assert step == Converged(rung(65, 6))


def test_first_pair_that_agrees_is_enough() -> None:
    energies = {rung(60): -100.0, rung(65): -100.01, rung(60, 6): -100.02}
    assert next_rung(energies, LADDER) == Converged(rung(60))


@pytest.mark.parametrize(
    ("energies", "words"),
    [
        ({rung(60): 0.0, rung(65): 1.0, rung(70): 2.0}, "cutoff ladder ended at 70 Ry"),
        (
            {rung(60): 0.0, rung(65): 0.0, rung(60, 6): 1.0, rung(60, 8): 2.0},
            "k-grid ladder ended at 8x8x8 .*1000.0 meV",
        ),
    ],
)
def test_ladder_that_ends_without_agreement(energies: dict[Rung, float], words: str) -> None:
    found = next_rung(energies, LADDER)
    assert isinstance(found, GaveUp)
    assert re.search(words, found.reason)


def test_without_tolerance_one_rung_is_taken_as_it_is() -> None:
    ladder = Ladder(cutoffs_ry=(40,), kgrids=((4, 4, 4),), tolerance_ev=None)
    assert next_rung({}, ladder) == Next(rung(40))
    assert next_rung({rung(40): -1.0}, ladder) == Converged(rung(40))


def test_published_ladder(diamond: Crystal) -> None:
    ladder = make_ladder(diamond, Protocol())
    assert ladder.cutoffs_ry[:3] == (60, 65, 70)
    assert ladder.cutoffs_ry[-1] == 120
    assert ladder.tolerance_ev == pytest.approx(0.0433641, abs=1e-6)
    assert ladder.kgrids[0] == (9, 9, 9)
    sizes = [prod(grid) for grid in ladder.kgrids]
    assert sizes == sorted(set(sizes))
    assert all(n % 2 == 0 for grid in ladder.kgrids[1:] for n in grid)
    assert sizes[-1] * diamond.n_atoms <= 2 * Protocol().ground_state_kppa_max


def test_demo_is_one_run(diamond: Crystal) -> None:
    ladder = make_ladder(diamond, PRESETS["demo"])
    assert (len(ladder.cutoffs_ry), len(ladder.kgrids), ladder.tolerance_ev) == (1, 1, None)
