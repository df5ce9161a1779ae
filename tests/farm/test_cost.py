"""Predicted cost: what must make it grow, and by about how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.cost import cost_prior, predict_cost
from farm.cost_prior import CostPrior
from farm.crystal import Crystal
from farm.job import Engine, Stage
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


@pytest.mark.parametrize("engine", list(Engine))
def test_without_local_fields_only_the_response_costs_less(
    bundled: dict[str, Crystal], engine: Engine
) -> None:
    whole = _with(bands="nscf", response_kppa=1500)
    for crystal in bundled.values():
        with_fields = predict_cost(crystal, whole, engine)
        alone = predict_cost(crystal, whole.ipa_only(), engine)
        for stage in (Stage.GROUND_STATE, Stage.BANDS):
            assert alone.cpu_s[stage] == with_fields.cpu_s[stage]
        assert 0 < alone.cpu_s[Stage.RESPONSE] < with_fields.cpu_s[Stage.RESPONSE]
        assert alone.memory_mb[Stage.RESPONSE] < with_fields.memory_mb[Stage.RESPONSE]
        # There is no block whose size could matter.
        larger = whole.model_copy(update={"gmax_step_mry": 4000, "gmax_max_mry": 20000})
        assert predict_cost(crystal, larger.ipa_only(), engine) == alone


# Response stage of jobs without local fields, one core (benchmarks/ipa_only.py).
@pytest.mark.parametrize(
    ("name", "kppa", "measured_s"),
    [("MgO", 500, 0.87), ("LiN3", 1500, 1.74), ("Se-trigonal", 500, 2.26), ("Se-trigonal", 1500, 4.37)],
)
def test_response_without_local_fields_is_what_was_measured(
    bundled: dict[str, Crystal], name: str, kppa: int, measured_s: float
) -> None:
    predicted_s = predict_cost(bundled[name], _with(gmax_max_mry=0, response_kppa=kppa)).cpu_s
    assert predicted_s[Stage.RESPONSE] == pytest.approx(measured_s, rel=0.3)


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


@pytest.mark.parametrize(
    ("changes", "stage"),
    [
        ({"ecutwfc_ry": 80}, Stage.GROUND_STATE),
        ({"ground_state_kppa": 800}, Stage.GROUND_STATE),
        ({"response_kppa": 3000}, Stage.BANDS),
        ({"energy_window_ev": 35.0}, Stage.BANDS),
        ({"gmax_max_mry": 14000}, Stage.RESPONSE),
    ],
)
def test_more_to_hold_is_predicted_to_take_more_memory(
    bundled: dict[str, Crystal], changes: dict[str, object], stage: Stage
) -> None:
    selenium = bundled["Se-trigonal"]
    more = predict_cost(selenium, _with(**changes)).memory_mb[stage]
    assert more > predict_cost(selenium, DEMO).memory_mb[stage]


# Largest resident size of pw.x in runs of the demo protocol with bands by nscf, one rank.
@pytest.mark.parametrize(
    ("name", "ground_state_mb", "bands_mb"),
    [("Se-trigonal", 53.8, 417.7), ("KCl", 48.8, 178.8), ("AlP", 41.2, 108.6)],
)
def test_memory_of_pw_is_what_was_measured(
    bundled: dict[str, Crystal], name: str, ground_state_mb: float, bands_mb: float
) -> None:
    memory_mb = predict_cost(bundled[name], _with(bands="nscf", band_path_points=0)).memory_mb
    assert memory_mb[Stage.GROUND_STATE] == pytest.approx(ground_state_mb, rel=0.1)
    assert memory_mb[Stage.BANDS] == pytest.approx(bands_mb, rel=0.1)


def test_peak_is_that_of_the_largest_stage(bundled: dict[str, Crystal]) -> None:
    estimate = predict_cost(bundled["Si"], DEMO)
    assert estimate.peak_memory_mb == max(estimate.memory_mb.values())


def test_matrices_of_a_large_cell_stay_below_the_limit_of_the_solver(bundled: dict[str, Crystal]) -> None:
    silicon, dense = bundled["Si"], _with(bands="nscf", band_path_points=0)
    memory_mb = [
        predict_cost(_stretched(silicon, factor), dense).memory_mb[Stage.RESPONSE] for factor in (1, 4, 8)
    ]
    assert memory_mb[0] < memory_mb[1] == memory_mb[2] < 4200.0


def _stretched(crystal: Crystal, factor: float) -> Crystal:
    (a, b, c) = ((factor * x, factor * y, factor * z) for x, y, z in crystal.lattice_angstrom)
    return replace(crystal, lattice_angstrom=(a, b, c))


@pytest.mark.parametrize("engine", list(Engine))
def test_prior_is_the_estimate_in_few_bytes(bundled: dict[str, Crystal], engine: Engine) -> None:
    protocol = _with(bands="nscf", band_path_points=0)
    for crystal in bundled.values():
        estimate = predict_cost(crystal, protocol, engine)
        prior = CostPrior.unpack(cost_prior(crystal, protocol, engine).pack())
        assert prior.cpu_s == pytest.approx(tuple(estimate.cpu_s[stage] for stage in Stage), rel=1e-6)
        assert prior.memory_mb == pytest.approx(estimate.peak_memory_mb, rel=1e-6)
        # Of the order of 1: a wild one would dominate what is learnt.
        assert max(map(abs, prior.features)) < 4


def test_crystal_of_an_unknown_symmetry_costs_the_same(bundled: dict[str, Crystal]) -> None:
    for crystal in bundled.values():
        read_again = Crystal.from_dict(crystal.to_dict())
        assert read_again.hall_number is None
        assert cost_prior(read_again, DEMO) == cost_prior(crystal, DEMO)
