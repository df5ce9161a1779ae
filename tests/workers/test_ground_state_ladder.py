"""The cutoff and k-grid ladders: pure, so every history can be tried."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.crystal import Crystal
from farm.protocol import PRESETS, Protocol
from workers.convergence import (
    Converged,
    GaveUp,
    Ladder,
    Next,
    Rung,
    loose_threshold_ry,
    make_ladder,
    next_rung,
)

LADDER = Ladder(
    cutoffs_ry=(60, 65, 70),
    kgrids=((4, 4, 4), (6, 6, 6), (8, 8, 8)),
    tolerance_ev=0.04,
    probe_kgrid=(2, 2, 2),
)
WITHOUT_PROBE = replace(LADDER, probe_kgrid=None)


def rung(cutoff: int, n: int = 4) -> Rung:
    return Rung(ecutwfc_ry=cutoff, kgrid=(n, n, n))


def loose(cutoff: int, n: int = 4) -> Rung:
    return replace(rung(cutoff, n), is_loose=True)


def climb(values: dict[Rung, float], ladder: Ladder) -> tuple[list[Next], Converged | GaveUp]:
    """All that a ladder asks for, given what each rung would come to (no value: it fails), and its end."""
    energies: dict[Rung, float] = {}
    failed: list[Rung] = []
    asked = []
    while isinstance(step := next_rung(energies, ladder, failed=failed), Next):
        assert step.rung not in (*energies, *failed)
        assert step.start is None or step.start in energies
        asked.append(step)
        if step.rung in values:
            energies[step.rung] = values[step.rung]
        else:
            assert step.rung.is_loose
            failed.append(step.rung)
    return asked, step


def test_cutoffs_on_the_coarse_grid_then_grids_and_the_smaller_of_each_pair() -> None:
    asked, end = climb(
        {
            loose(60, 2): -90.0,
            loose(65, 2): -90.2,
            loose(70, 2): -90.21,
            rung(65): -100.2,
            loose(65, 6): -100.3,
            loose(65, 8): -100.31,
            rung(65, 6): -100.3001,
        },
        LADDER,
    )
    assert asked == [
        Next(loose(60, 2), None),
        Next(loose(65, 2), loose(60, 2)),
        Next(loose(70, 2), loose(65, 2)),
        Next(rung(65), loose(65, 2)),
        Next(loose(65, 6), rung(65)),
        Next(loose(65, 8), loose(65, 6)),
        # Of the grids that agree the smaller is run to the end, from its own loose density.
        Next(rung(65, 6), loose(65, 6)),
    ]
    assert end == Converged(rung(65, 6))


def test_first_pair_that_agrees_is_enough() -> None:
    values = {loose(60, 2): -90.0, loose(65, 2): -90.01, rung(60): -100.0, loose(60, 6): -100.02}
    asked, end = climb(values, LADDER)
    assert [step.rung for step in asked] == list(values)
    assert end == Converged(rung(60))


@pytest.mark.parametrize(("change_ev", "cutoff"), [(0.0391, 60), (0.0409, 65)])
def test_what_the_coarse_grid_cannot_tell_is_asked_on_the_first(change_ev: float, cutoff: int) -> None:
    # 41 meV against a tolerance of 40: within the margin of the coarse grid.
    energies = {loose(60, 2): -90.0, loose(65, 2): -90.041}
    assert next_rung(energies, LADDER) == Next(loose(60), loose(60, 2))
    energies[loose(60)] = -100.0
    assert next_rung(energies, LADDER) == Next(loose(65), loose(65, 2))
    energies[loose(65)] = -100.0 - change_ev
    # Within the margin of loose energies as well: to the protocol's threshold.
    assert next_rung(energies, LADDER) == Next(rung(60), loose(60))
    energies[rung(60)] = -100.0
    assert next_rung(energies, LADDER) == Next(rung(65), loose(65))
    energies[rung(65)] = -100.0 - change_ev
    asked = next_rung(energies, LADDER)
    assert isinstance(asked, Next)
    assert asked.rung == (loose(60, 6) if cutoff == 60 else loose(70, 2))


def test_grid_that_loose_energies_cannot_tell_is_run_to_the_end() -> None:
    energies = {loose(60, 2): 0.0, loose(65, 2): 0.0, rung(60): 0.0, loose(60, 6): 0.0395}
    assert next_rung(energies, LADDER) == Next(rung(60, 6), loose(60, 6))
    energies[rung(60, 6)] = 0.0395
    assert next_rung(energies, LADDER) == Converged(rung(60))


def test_without_what_fails_on_the_coarse_grid_the_ladder_is_climbed_on_the_first() -> None:
    values = {rung(60): 0.0, loose(65): 0.2, loose(70): 0.21, rung(65): 0.2, loose(65, 6): 0.2}
    asked, end = climb(values, LADDER)
    assert [step.rung for step in asked if step.rung in values] == list(values)
    assert [step.rung for step in asked if step.rung not in values] == [loose(60, 2), loose(65, 2)]
    assert end == Converged(rung(65))


def test_without_loose_energies_the_ladder_is_climbed_as_published() -> None:
    values = {rung(60): 0.0, rung(65): 0.2, rung(70): 0.21, rung(65, 6): 0.3, rung(65, 8): 0.3}
    asked, end = climb(values, LADDER)
    assert [step.rung for step in asked if not step.rung.is_loose] == list(values)
    assert end == Converged(rung(65, 6))


def test_without_a_coarse_grid_the_first_rung_is_run_to_the_end_at_once() -> None:
    values = {rung(60): 0.0, loose(65): 0.01, loose(60, 6): 0.0}
    asked, end = climb(values, WITHOUT_PROBE)
    assert [step.rung for step in asked] == list(values)
    assert end == Converged(rung(60))


@pytest.mark.parametrize(
    ("energies", "words"),
    [
        ({loose(60, 2): 0.0, loose(65, 2): 1.0, loose(70, 2): 2.0}, "cutoff ladder ended at 70 Ry"),
        (
            {
                loose(60, 2): 0.0,
                loose(65, 2): 0.0,
                rung(60): 0.0,
                loose(60, 6): 1.0,
                loose(60, 8): 2.0,
            },
            "k-grid ladder ended at 8x8x8 .*1000.0 meV",
        ),
    ],
)
def test_ladder_that_ends_without_agreement(energies: dict[Rung, float], words: str) -> None:
    found = next_rung(energies, LADDER)
    assert isinstance(found, GaveUp)
    assert re.search(words, found.reason)


@given(
    changes=st.lists(st.floats(0, 0.2), min_size=2, max_size=2),
    grid_changes=st.lists(st.floats(0, 0.2), min_size=2, max_size=2),
    transfer=st.floats(-0.02, 0.02),
    looseness=st.floats(-0.01, 0.01),
    failing=st.sets(st.sampled_from([(60, 2), (65, 2), (60, 4), (65, 4), (60, 6), (65, 6)])),
)
def test_the_rung_is_that_of_the_ladder_as_published(
    changes: list[float],
    grid_changes: list[float],
    transfer: float,
    looseness: float,
    failing: set[tuple[int, int]],
) -> None:
    """Whatever loose and coarse energies are off within their bounds (shares of the tolerance), or fail."""
    tolerance = 0.04
    cutoffs = dict(zip((60, 65, 70), (0.0, changes[0], changes[0] + changes[1]), strict=True))
    grids = dict(zip((4, 6, 8), (0.0, grid_changes[0], grid_changes[0] + grid_changes[1]), strict=True))
    values: dict[Rung, float] = {}
    for cutoff, energy in cutoffs.items():
        values[loose(cutoff, 2)] = 7.0 + energy + (transfer * tolerance if cutoff == 65 else 0.0)
        for n, of_grid in grids.items():
            values[rung(cutoff, n)] = energy + of_grid
            values[loose(cutoff, n)] = energy + of_grid + (looseness * tolerance if n != 6 else 0.0)
    for cutoff, n in failing:
        del values[loose(cutoff, n)]
    expected = None
    if changes[0] < tolerance or changes[1] < tolerance:
        cutoff = 60 if changes[0] < tolerance else 65
        if grid_changes[0] < tolerance or grid_changes[1] < tolerance:
            expected = rung(cutoff, 4 if grid_changes[0] < tolerance else 6)
    _, end = climb(values, LADDER)
    assert isinstance(end, GaveUp) if expected is None else end == Converged(expected)


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
    assert ladder.probe_kgrid == (4, 4, 4)
    assert loose_threshold_ry(Protocol(), 2) == pytest.approx(0.01 * 2 * 0.0433641 / 13.6057, rel=1e-5)
    sizes = [prod(grid) for grid in ladder.kgrids]
    assert sizes == sorted(set(sizes))
    assert all(n % 2 == 0 for grid in ladder.kgrids[1:] for n in grid)
    assert sizes[-1] * diamond.n_atoms <= 2 * Protocol().ground_state_kppa_max


def test_demo_is_one_run(diamond: Crystal) -> None:
    ladder = make_ladder(diamond, PRESETS["demo"])
    assert (len(ladder.cutoffs_ry), len(ladder.kgrids), ladder.tolerance_ev) == (1, 1, None)
