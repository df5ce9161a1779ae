"""What a job for YAMBO is predicted to cost, against whole jobs that were run."""

from __future__ import annotations

import pytest

from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.protocol import PRESETS, Protocol
from farm.stage import Engine, Stage

COARSE = PRESETS["demo"].model_copy(update={"response_kppa": 128, "bands": "nscf"})


def _fcc(name: str, edge: float) -> Crystal:
    a = edge / 2
    return Crystal(
        material_id=name,
        lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
        species=(name, name),
        frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
    )


@pytest.mark.parametrize(
    ("crystal", "protocol", "measured_s"),
    [
        (
            _fcc("C", 3.567),
            Protocol(response_kppa=1024, bands="nscf", energy_tolerance_kcal_mol=None),
            66.4,
        ),
        (_fcc("C", 3.567), PRESETS["demo"].model_copy(update={"response_kppa": 128, "bands": "nscf"}), 9.0),
        (
            _fcc("Si", 5.43),
            PRESETS["demo"].model_copy(update={"response_kppa": 128, "bands": "nscf"}),
            65.0,
        ),
    ],
)
def test_within_a_factor_of_three(crystal: Crystal, protocol: Protocol, measured_s: float) -> None:
    predicted_s = predict_cost(crystal, protocol, Engine.YAMBO).total_cpu_s
    assert measured_s / 3 < predicted_s < measured_s * 3
    assert predicted_s > predict_cost(crystal, protocol).total_cpu_s


# p2y, set-up and one run along one direction of a block of one G vector, YAMBO 5.2.4, one rank.
@pytest.mark.parametrize(("name", "edge", "measured_s"), [("C", 3.567, 8.4), ("Si", 5.43, 17.6)])
def test_response_without_local_fields_is_what_was_measured(
    name: str, edge: float, measured_s: float
) -> None:
    protocol = Protocol(response_kppa=1024, bands="nscf", gmax_max_mry=0)
    predicted_s = predict_cost(_fcc(name, edge), protocol, Engine.YAMBO).cpu_s[Stage.RESPONSE]
    assert predicted_s == pytest.approx(measured_s, rel=0.5)
