"""Predicted cost: what must make it grow, and by about how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.job import Stage
from farm.protocol import PRESETS, Protocol
from farm.sources import read_source

DEMO = PRESETS["demo"]


@pytest.fixture(scope="module")
def bundled() -> dict[str, Crystal]:
    return {item.material_id: item for item in read_source(None) if isinstance(item, Crystal)}


def _with(**changes: object) -> Protocol:
    return Protocol.from_dict({**DEMO.to_dict(), **changes})


def test_every_stage_costs_something(bundled: dict[str, Crystal]) -> None:
    for crystal in bundled.values():
        estimate = predict_cost(crystal, DEMO)
        assert set(estimate.cpu_s) == set(Stage)
        assert all(seconds > 0 for seconds in estimate.cpu_s.values())


def test_dense_nscf_costs_several_times_the_reduced_basis(bundled: dict[str, Crystal]) -> None:
    dense = _with(bands="nscf", response_kppa=1500)
    reduced = _with(response_kppa=1500)
    for name in ("Si", "KCl", "NaCl"):
        by_nscf = predict_cost(bundled[name], dense).cpu_s[Stage.BANDS]
        assert by_nscf > 5 * predict_cost(bundled[name], reduced).cpu_s[Stage.BANDS]


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"response_kppa": 3000}, Stage.BANDS),
        ({"response_kppa": 3000}, Stage.RESPONSE),
        ({"kgrid": "converged"}, Stage.BANDS),
        ({"energy_window_ev": 35.0}, Stage.BANDS),
        ({"ecutwfc_ry": 80}, Stage.GROUND_STATE),
        ({"energy_tolerance_kcal_mol": 1.0}, Stage.GROUND_STATE),
        ({"band_path_points": 500}, Stage.BANDS),
    ],
)
def test_more_work_is_predicted_to_cost_more(
    bundled: dict[str, Crystal], changes: dict[str, object], stage: Stage
) -> None:
    silicon = bundled["Si"]
    assert predict_cost(silicon, _with(**changes)).cpu_s[stage] > predict_cost(silicon, DEMO).cpu_s[stage]


def test_cell_of_the_same_lattice_costs_the_same_ground_state(bundled: dict[str, Crystal]) -> None:
    silicon = bundled["Si"]
    a, b, c = silicon.lattice
    skewed = replace(
        silicon,
        lattice_angstrom=tuple(tuple(map(float, row)) for row in (a, b + 2 * a, c - a)),
        frac_coords=((0.0, 0.0, 0.0), (0.0, 0.25, 0.25)),
    )
    assert skewed.volume_angstrom3 == pytest.approx(silicon.volume_angstrom3)
    ours = predict_cost(skewed, DEMO).cpu_s[Stage.GROUND_STATE]
    assert ours == pytest.approx(predict_cost(silicon, DEMO).cpu_s[Stage.GROUND_STATE], rel=0.2)
