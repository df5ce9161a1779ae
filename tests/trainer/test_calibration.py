"""Intervals that hold what they promise, on numbers whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.networks.calibration import (
    LEAST_MATERIALS,
    LEVELS,
    Calibration,
    calibrate,
    coverage,
    disagreement,
)


def made_up(n_materials: int, seed: int, *, spoil: float = 1.0):
    """Members scatter about a mean, the truth does so three times as far; how far differs by material."""
    rng = np.random.default_rng(seed)
    energies = np.linspace(0, 1, 60)
    mean = 5 + 4 * np.sin(6 * energies + rng.uniform(0, 6, (n_materials, 1)))
    scale = rng.uniform(0.1, 0.8, (n_materials, 1))
    members = mean[:, None] + scale[:, None] * rng.normal(size=(n_materials, 5, 60))
    truth = mean + 3 * spoil * scale * rng.normal(size=(n_materials, 60))
    return members.clip(0.01), truth.clip(0.01)


def test_intervals_hold_their_share_of_other_materials():
    found = coverage(calibrate(*made_up(200, 0)), *made_up(200, 1))
    assert found["levels"] == list(LEVELS)
    assert np.allclose(found["point"], LEVELS, atol=0.02)
    assert np.allclose(found["spectrum"], LEVELS, atol=0.1)
    assert found["point_error"] < 0.02
    assert found["rank_correlation"] > 0.9


def test_intervals_of_easier_materials_are_found_out():
    found = coverage(calibrate(*made_up(200, 0)), *made_up(200, 1, spoil=3.0))
    assert found["point_error"] > 0.2
    assert max(found["point"]) < 0.8


def test_few_materials_or_one_member_say_nothing():
    members, truth = made_up(LEAST_MATERIALS, 0)
    assert calibrate(members, truth) is not None
    assert calibrate(members[:-1], truth[:-1]) is None
    assert calibrate(members[:, :1], truth) is None


def test_few_materials_promise_less():
    """The largest of ten errors is no bound for 95 of 100 others: the finite-sample correction."""
    inside = []
    for seed in range(60):
        members, truth = made_up(10, seed)
        found = coverage(calibrate(members, truth), *made_up(40, 1000 + seed))
        inside.append(found["spectrum"][LEVELS.index(0.8)])
    assert np.mean(inside) == pytest.approx(0.8, abs=0.05)


def test_half_width_follows_the_spread_and_survives_the_card():
    calibration = calibrate(*made_up(50, 0))
    again = Calibration.from_dict(calibration.to_dict())
    assert again == calibration
    members, _ = made_up(3, 2)
    narrow, wide = calibration.half_width(members, 0.5), calibration.half_width(members, 0.9)
    assert narrow.shape == (3, 60)
    assert (wide > narrow).all()
    alike = np.repeat(members.mean(axis=1, keepdims=True), 5, axis=1)
    assert (calibration.half_width(alike) < calibration.half_width(members)).all()
    assert (calibration.half_width(alike) > 0).all()
    assert calibration.expected_sc(alike).min() > calibration.expected_sc(members).max()


def test_disagreement_is_one_minus_sc_to_the_mean():
    members = np.array([[[1.0, 1.0], [3.0, 3.0]]])
    assert disagreement(members) == pytest.approx([0.5])
