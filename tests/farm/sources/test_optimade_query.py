"""What is asked of an OPTIMADE server: nothing that loses a crystal which the local filters would keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optimade.filterparser import LarkParser
from optimade.models.utils import anonymize_formula

from farm.errors import InputError
from farm.sources import Filters
from farm.sources.optimade import Query, check_filter
from farm.sources.optimade.query import anonymous_formulas, names_given, response_fields

ALEXANDRIA = {
    "chemical_formula_anonymous",
    "lattice_vectors",
    "species_at_sites",
    "cartesian_site_positions",
    "space_group_it_number",
    "_alexandria_band_gap",
    "_alexandria_hull_distance",
    "_alexandria_space_group",
}
ALL = Filters(
    max_atoms=2,
    elements={"Si", "O"},
    exclude={"O"},
    min_gap_ev=0.5,
    max_hull_ev=0.1,
    space_group=225,
)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=8).filter(lambda counts: sum(counts) <= 8))
def test_no_formula_of_a_small_cell_is_missing(counts: list[int]) -> None:
    symbols = ("Mg", "O", "Si", "C", "N", "Al", "F", "H")
    formula = "".join(f"{symbol}{n}" for symbol, n in zip(symbols, counts, strict=False))
    assert anonymize_formula(formula) in anonymous_formulas(sum(counts))


def test_formulas_are_each_once_and_none_is_too_large() -> None:
    assert anonymous_formulas(3) == ["A", "AB", "A2B", "ABC"]
    formulas = anonymous_formulas(8)
    assert len(formulas) == len(set(formulas)) == 51


def test_all_that_the_server_knows_is_pushed_beside_the_users_own() -> None:
    names = names_given(ALEXANDRIA)
    sent = Query('elements HAS "Si" OR nelements=2', ALL).for_server(names, ALEXANDRIA)
    LarkParser().parse(sent)
    own, formulas, *rest = sent.split(" AND ")
    assert own == '(elements HAS "Si" OR nelements=2)'
    assert formulas == (
        '(chemical_formula_anonymous="A" OR chemical_formula_anonymous="AB" '
        "OR chemical_formula_anonymous IS UNKNOWN)"
    )
    # The number of sites is that of the server's cell, not of the primitive one.
    assert "nsites" not in sent
    without = rest.pop(0)
    assert without.startswith('NOT (elements HAS ANY "Ac","Ag"')
    assert '"O"' in without
    assert '"Si"' not in without
    assert rest == [
        "_alexandria_band_gap>=0.5",
        "_alexandria_hull_distance<=0.1",
        "(_alexandria_space_group=225 OR _alexandria_space_group IS UNKNOWN)",
    ]


def test_nothing_is_pushed_that_the_server_does_not_have() -> None:
    advertised = {"lattice_vectors", "elements", "_mp_stability"}
    names = names_given(advertised)
    assert names["e_above_hull"] == "_mp_stability.gga_gga+u_r2scan.energy_above_hull"
    pushable = Filters(max_atoms=2, max_hull_ev=0.1, min_gap_ev=1.0, space_group=1)
    # No filter reaches into a dictionary on all servers.
    assert Query("", pushable).for_server(names, advertised) == ""
    assert response_fields(names, advertised) == ["lattice_vectors", "_mp_stability"]


def test_many_atoms_are_left_to_the_local_filter() -> None:
    assert "anonymous" in Query("", Filters(max_atoms=8)).for_server({}, None)
    assert Query("", Filters(max_atoms=9)).for_server({}, None) == ""


def test_a_server_that_does_not_say_what_it_has_is_asked_for_the_structure() -> None:
    assert names_given(None) == {}
    assert "cartesian_site_positions" in response_fields({}, None)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('elements HAZ "Si"', "at character 10: 'HAZ \"Si\"'"),
        ("nsites<", "at its end"),
        # Legal in its own parentheses, with another meaning.
        ("nsites=1) OR (nsites=2", "at character 9"),
    ],
)
def test_a_filter_in_another_language_is_refused_here(text: str, where: str) -> None:
    with pytest.raises(InputError, match="not an OPTIMADE filter") as caught:
        check_filter(text)
    assert where in caught.value.message
