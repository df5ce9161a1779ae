"""Bands along a path: gaps of silicon, where they lie, what is refused, and the way through msgpack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from band_samples import chance_bands, silicon_bands

from farm.bandstructure import BandStructure, symbol
from farm.errors import InputError


def test_silicon_has_the_gaps_of_the_textbook() -> None:
    """Cohen and Bergstresser: 0.8 eV from the centre to 0.85 of the way to X, 3.4 eV at the centre."""
    bands = silicon_bands()
    assert bands.gap_indirect_ev == pytest.approx(0.8, abs=0.05)
    assert bands.valence_maximum_at == "GAMMA"
    assert bands.conduction_minimum_at == "between GAMMA and X"
    assert bands.kpoints[bands.conduction_minimum, 0] == pytest.approx(0.85 / 2, abs=0.02)
    assert bands.gap_direct_ev == pytest.approx(3.1, abs=0.05)
    assert bands.direct_gap_at == "L"
    centre = bands.energies_ev[0]
    assert centre[4] - centre[3] == pytest.approx(3.4, abs=0.05)
    assert (bands.n_points, bands.n_bands) == (92, 10)
    assert (bands.highest_filled_ev <= 0).all()


def test_a_corner_is_named_among_equals() -> None:
    bands = chance_bands(0)
    energies = bands.energies_ev.copy()
    # Flat but for numerics; the top is a little higher between two corners.
    energies[:, : bands.n_valence] = 0.0
    energies[5, bands.n_valence - 1] = 1e-4
    flat = replace(bands, energies_ev=energies)
    assert flat.valence_maximum_at == "GAMMA"
    energies[5, bands.n_valence - 1] = 0.1
    assert replace(bands, energies_ev=energies).valence_maximum_at == "between GAMMA and X"


def test_each_point_has_its_place() -> None:
    bands = chance_bands(0)
    assert bands.corners == (0, 9, 10, 19)
    assert [bands.place(point) for point in (0, 1, 9, 10, 11, 19)] == [
        "GAMMA",
        "between GAMMA and X",
        "X",
        "SIGMA_0",
        "between SIGMA_0 and GAMMA",
        "GAMMA",
    ]


def test_a_path_is_whole_between_jumps() -> None:
    assert silicon_bands().pieces() == [slice(0, 31), slice(31, 92)]
    # Two corners side by side that lie apart are a short segment and no jump.
    bands = chance_bands(0)
    distances = bands.distances.copy()
    distances[10:] += 0.1
    assert replace(bands, distances=distances).pieces() == [slice(0, 20)]


def test_labels_as_printed() -> None:
    assert symbol("GAMMA") == "Γ"
    assert symbol("between SIGMA_0 and X_12") == "between Σ₀ and X₁₂"


def test_msgpack_and_back() -> None:
    for bands in (chance_bands(1), silicon_bands()):
        payload = msgpack.packb(bands.pack())
        back = BandStructure.unpack(msgpack.unpackb(payload))
        assert msgpack.packb(back.pack()) == payload
        assert (back.labels, back.corners) == (bands.labels, bands.corners)
        assert back.n_valence == bands.n_valence
        for name in ("kpoints", "distances", "energies_ev"):
            np.testing.assert_allclose(getattr(back, name), getattr(bands, name), atol=2e-6)
        assert back.pieces() == bands.pieces()
        assert back.conduction_minimum_at == bands.conduction_minimum_at


GOOD = chance_bands(0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"labels": ("GAMMA", "X")}, "one label a corner, got 2 for 4"),
        ({"labels": ("X",), "corners": (0,)}, "one label a corner"),
        ({"corners": (0, 9, 9, 19)}, "ascend from 0 to 19"),
        ({"corners": (0, 9, 10, 18)}, "ascend from 0 to 19"),
        ({"corners": (1, 9, 10, 19)}, "ascend from 0 to 19"),
        ({"kpoints": np.zeros((20, 2))}, r"kpoints of shape \(n_points, 3\)"),
        ({"distances": np.zeros((20, 1))}, r"distances of shape \(n_points,\)"),
        ({"distances": -GOOD.distances}, "do not fall"),
        ({"energies_ev": GOOD.energies_ev[:19]}, r"energies of shape \(20, n_bands\), got \(19, 7\)"),
        ({"energies_ev": GOOD.energies_ev[0]}, "energies of shape"),
        ({"energies_ev": np.where(GOOD.energies_ev == GOOD.energies_ev.max(), np.nan, 0)}, "not finite"),
        ({"n_valence": 0}, "0 of 7 bands filled"),
        ({"n_valence": 7}, "7 of 7 bands filled"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        replace(GOOD, **wrong)


@pytest.mark.parametrize(
    "data",
    [
        {},
        None,
        {**GOOD.pack(), "distances": b"12345"},
        {**GOOD.pack(), "energies_ev": GOOD.pack()["energies_ev"][:-4]},
        {**GOOD.pack(), "distances": b""},
        {**GOOD.pack(), "corners": None},
        {**GOOD.pack(), "corners": ["0", 9, 10, 19]},
        {**GOOD.pack(), "n_valence": "3"},
    ],
)
def test_other_documents_are_no_band_structure(data: Any) -> None:
    with pytest.raises(InputError, match=r"band structure|path"):
        BandStructure.unpack(data)
