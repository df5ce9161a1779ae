"""The constants are CODATA's."""

import pytest
from scipy import constants

from farm import units

CODATA = constants.physical_constants


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (units.HARTREE_EV, CODATA["Hartree energy in eV"][0]),
        (units.RYDBERG_EV, CODATA["Rydberg constant times hc in eV"][0]),
        (units.BOHR_ANGSTROM, CODATA["Bohr radius"][0] * 1e10),
        (units.KCAL_MOL_EV, constants.calorie * 1e3 / (constants.N_A * constants.e)),
        (units.HBAR_EV_S, constants.hbar / constants.e),
        (units.SPEED_OF_LIGHT_CM_S, constants.c * 1e2),
    ],
)
def test_units_are_codata(ours: float, reference: float) -> None:
    # Editions of CODATA differ in the tenth digit: 1e-9 holds for any of them, and for no typing error.
    assert ours == pytest.approx(reference, rel=1e-9)
