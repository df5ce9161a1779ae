"""pw.x inputs are generated, read back, and refused when they would not mean what was asked."""

from __future__ import annotations

import pytest

from farm.errors import CalculationError
from workers.qe.inputs import PwInput, parse_namelists


def test_text_reads_back_as_what_was_asked(pw_input: PwInput) -> None:
    found = parse_namelists(pw_input.text())
    assert found == pw_input.namelists()
    assert found["SYSTEM"]["ibrav"] == 0
    assert found["SYSTEM"]["occupations"] == "fixed"
    assert found["ELECTRONS"]["conv_thr"] == 1e-9


def test_cell_has_twelve_digits(pw_input: PwInput) -> None:
    third = 1.0 / 3.0
    text = pw_input.evolve(frac_coords=((0.0, 0.0, 0.0), (third, 2 * third, 0.25))).text()
    assert "0.333333333333  0.666666666667  0.250000000000" in text


def test_explicit_list_switches_symmetry_off(pw_input: PwInput) -> None:
    bands = pw_input.evolve(
        calculation="nscf",
        kgrid=None,
        kpoints=((0.015625, 0.03125, 0.046875), (0.25, 0.0, 0.0)),
        kweights=(2.0, 6.0),
        nbnd=12,
        use_symmetry=False,
    )
    lines = bands.text().splitlines()
    system = parse_namelists(bands.text())["SYSTEM"]
    assert system["nosym"] is True
    assert system["noinv"] is True
    start = lines.index("K_POINTS crystal")
    assert lines[start + 1] == "2"
    assert [float(x) for x in lines[start + 2].split()] == [0.015625, 0.03125, 0.046875, 2.0]


@pytest.mark.parametrize("pseudo_dir", ["/home/o'neil/pseudo", "a\nb"])
def test_text_that_breaks_out_of_its_quotes_is_refused(pw_input: PwInput, pseudo_dir: str) -> None:
    with pytest.raises(CalculationError, match="cannot be written"):
        pw_input.evolve(pseudo_dir=pseudo_dir).text()


def test_line_without_assignment_is_refused() -> None:
    with pytest.raises(CalculationError, match="not an assignment"):
        parse_namelists("&SYSTEM\n  ecutwfc 30\n/\n")
