from dataclasses import replace

import pytest

from farm.crystal import Crystal
from farm.sources import Filters, Rejected, Skipped, select


def crystal(material_id: str, a: float = 2.1, species=("Mg", "O"), **properties) -> Crystal:
    return Crystal(
        material_id=material_id,
        lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
        species=species,
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
        source=f"file, {material_id}",
        properties=properties,
    )


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        (Filters(max_atoms=1), "more than 1 atoms"),
        (Filters(elements={"Mg", "S"}), "elements other than Mg, S"),
        (Filters(exclude={"O", "H"}), "contains O"),
        (Filters(min_gap_ev=5.0), "gap below 5 eV"),
        (Filters(max_hull_ev=0.01), "more than 0.01 eV per atom above the hull"),
        (Filters(space_group=227), "space group other than 227"),
    ],
)
def test_each_filter_leaves_out_with_its_reason(filters, reason):
    item = crystal("a", band_gap_ind=4.5, e_above_hull=0.02)
    assert list(select([item], filters)) == [Skipped("a", reason)]


def test_what_fits_every_filter_passes():
    filters = Filters(
        max_atoms=2,
        elements={"Mg", "O"},
        exclude={"S"},
        min_gap_ev=4.5,
        max_hull_ev=0.02,
        space_group=225,
        limit=3,
    )
    item = crystal("a", band_gap_ind=4.5, e_above_hull=0.02)
    assert list(select([item], filters)) == [item]


def test_a_source_that_says_nothing_is_told_so():
    for filters in (Filters(min_gap_ev=0.1), Filters(max_hull_ev=1.0)):
        (skipped,) = select([crystal("a")], filters)
        assert skipped.reason.startswith("its source gives no")


def test_the_same_crystal_twice_is_taken_once():
    first, twin = crystal("a"), crystal("b")
    assert list(select([first, twin])) == [first, Skipped("b", "the same crystal as a")]


def test_an_id_of_another_crystal_is_rejected():
    first, other = crystal("a"), replace(crystal("a", a=2.4), source="file 2")
    kept, rejected = select([first, other])
    assert kept == first
    assert rejected == Rejected(
        "file 2", "the id a belongs to another crystal", "Give each crystal its own id"
    )


def test_the_limit_stops_the_reading():
    def source():
        yield Rejected("x", "y", "z")
        yield crystal("a")
        yield crystal("b", a=2.2)
        raise AssertionError("read beyond the limit")

    assert [type(item) for item in select(source(), Filters(limit=2))] == [Rejected, Crystal, Crystal]
    assert list(select(source(), Filters(limit=0))) == []
