"""Learning curves: nested subsets, the same fits for every seed, a file that the report reads."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from farm.errors import InputError
from trainer.data.dataset import build_dataset
from trainer.data.split import Split, split_crystals
from trainer.fitting.rungs import fit_rung
from trainer.report.curve_file import read_curve
from trainer.trials.learning_curve import (
    curve_plan,
    curve_table,
    learning_curve,
    planned_fits,
    seed_rule,
    small_cells,
    some,
)


@pytest.fixture
def plan(small_config):
    plan = curve_plan("optimate", threads=1, epochs=3)
    return replace(plan, model=small_config)


@pytest.fixture
def dataset(dataset_of, training_row, rock_salt):
    """81 cells of two atoms and some of four."""
    rows = list(dataset_of(81).rows)
    for row in rows[:30]:
        doubled = rock_salt(*row.crystal.species, 7.0)
        doubled = replace(
            doubled,
            material_id=f"{row.material_id}-2",
            species=doubled.species * 2,
            frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25), (0.5, 0.5, 0.5), (0.75, 0.75, 0.75)),
        )
        rows.append(training_row(doubled))
    return build_dataset(rows, dataset_of(1).energies_ev)


def learnt(split):
    return set(np.concatenate([split.train, split.validation]).tolist())


def test_smaller_sets_are_within_larger_ones_and_keep_their_share_of_validation():
    rows = np.arange(200)
    split = Split(rows[:140], rows[140:160], rows[160:])
    sets = [some(split, n, 0) for n in (4, 8, 40, 100, 160, 500)]
    for smaller, larger in itertools.pairwise(sets):
        assert learnt(smaller) <= learnt(larger)
    assert [s.n_learning for s in sets] == [4, 8, 40, 100, 160, 160]
    assert [s.validation.size for s in sets] == [0, 1, 5, 12, 20, 20]
    assert all((s.held_out == split.held_out).all() for s in sets)
    assert learnt(some(split, 40, 0)) != learnt(some(split, 40, 1))
    # Two at least are to train on, whatever the share.
    few = Split(rows[:5], rows[5:105], rows[105:])
    assert [(s.train.size, s.validation.size) for s in (some(few, n, 0) for n in (4, 12))] == [
        (2, 2),
        (2, 10),
    ]


def test_small_cells_are_learnt_from_and_all_are_measured_on():
    n_atoms = np.array([1, 2, 3, 4, 2, 3, 4, 1])
    split = Split(np.array([0, 1, 2, 3]), np.array([4, 5]), np.array([6, 7]))
    part = small_cells(split, n_atoms, 2)
    assert (part.train.tolist(), part.validation.tolist(), part.held_out.tolist()) == ([0, 1], [4], [6, 7])


def test_every_seed_makes_the_same_fits():
    rows = np.arange(100)
    splits = [Split(rows[:60], rows[60:70], rows[70:]), Split(rows[:50], rows[50:60], rows[60:])]
    fits = planned_fits(splits, np.where(rows < 10, 2, 4), [30, 300, None, 2], [2, 3, 4])
    assert [(f.kind, f.n, f.max_atoms) for f in fits] == [
        ("transfer", 30, None),
        ("direct", 30, None),
        ("transfer", 60, None),
        ("direct", 60, None),
        ("small-cells", 10, 2),
        ("small-cells", 10, 3),
        ("small-cells", 60, 4),
    ]
    with pytest.raises(InputError, match="too few for a curve"):
        planned_fits(splits, np.full(100, 9), [500], [2])


def test_the_document_is_what_the_report_reads_and_the_table_sums_up(dataset, plan, tmp_path, monkeypatch):
    bases = []

    def counted(model, rung, *args, **kwargs):
        bases.extend([rung] if rung == "ipa" else [])
        return fit_rung(model, rung, *args, **kwargs)

    monkeypatch.setattr("trainer.trials.learning_curve.fit_rung", counted)
    seen = []
    document = learning_curve(
        dataset, plan, sizes=[10, None], n_seeds=2, cells=[2], on_progress=lambda *step: seen.append(step)
    )
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(document, allow_nan=False))
    curve = read_curve(path)
    n_all = min(split_crystals(dataset.crystals, seed_rule(seed)).n_learning for seed in (0, 1))
    asked = [(kind, n) for n in (10, n_all) for kind in ("transfer", "direct")]
    points = [(p.kind, p.n, p.seed) for p in curve.points if p.kind != "small-cells"]
    assert points == [(kind, n, seed) for seed in (0, 1) for kind, n in asked]
    small = [p for p in document["points"] if p["kind"] == "small-cells"]
    assert [p["max_atoms"] for p in small] == [2, 2]
    assert bases == ["ipa", "ipa"]
    assert curve.ipa_as_rpa == pytest.approx(np.mean(list(document["ipa_as_rpa_by_seed"].values())))
    assert (seen[0][:3], seen[-1][:2]) == ((1, 12, "seed 0: base"), (12, 12))
    assert [(fit, epoch) for fit, _, _, epoch, _ in seen] == [
        (f, e) for f in range(1, 13) for e in range(3)
    ]
    name, n, seeds, median, spread, _ = curve_table(document)[0]
    medians = [p["median_sc"] for p in document["points"] if (p["kind"], p["n"]) == ("transfer", 10)]
    assert (name, n, seeds) == ("transfer", 10, 2)
    assert (median, spread) == (pytest.approx(np.mean(medians)), pytest.approx(np.std(medians, ddof=1)))
    again = learning_curve(dataset, plan, sizes=[10, None], n_seeds=2, cells=[2])
    assert [p["median_sc"] for p in again["points"]] == [p["median_sc"] for p in document["points"]]


def test_too_little_to_measure_on_is_an_input_error(dataset_of, plan):
    with pytest.raises(InputError, match="too few for a curve"):
        learning_curve(dataset_of(3), plan, sizes=[None], n_seeds=2)
