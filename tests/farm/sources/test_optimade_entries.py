"""One entry of a server's answer, in which nothing can be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.crystal import MATERIAL_ID, Crystal
from farm.sources import Rejected, Unparsed, parse
from farm.sources.optimade import Provider
from farm.sources.optimade.entries import material_id, read_entry

HERE = Provider("here", "http://127.0.0.1:1")
URL = "http://127.0.0.1:1/v1"
NAMES = {
    "band_gap_ind": "_here_gap",
    "e_above_hull": "_here_stability.pbe.hull",
    "spg": "_here_group",
    "total_mag": "_here_magnetization",
}
MGO = {
    "lattice_vectors": [[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]],
    "cartesian_site_positions": [[0, 0, 0], [2.1, 2.1, 2.1]],
    "species_at_sites": ["Mg", "O"],
    "species": [
        {"name": "Mg", "chemical_symbols": ["Mg"], "concentration": [1.0]},
        {"name": "O", "chemical_symbols": ["O"], "concentration": [1]},
    ],
}


def entry(own_id: Any = "7", **attributes: Any) -> dict[str, Any]:
    return {"id": own_id, "type": "structures", "attributes": {**MGO, **attributes}}


def read(what: Any) -> Crystal | Rejected:
    cut = read_entry(what, 3, HERE, NAMES, URL)
    found = parse(cut)
    assert isinstance(found, Crystal | Rejected)
    return found


def test_a_structure_with_what_is_said_of_it() -> None:
    found = read(
        entry(
            _here_gap=4.5, _here_stability={"pbe": {"hull": 0}}, _here_group=225, _here_magnetization=0.01
        )
    )
    assert isinstance(found, Crystal)
    assert (found.material_id, found.formula, found.n_atoms) == ("here-7", "MgO", 2)
    assert found.source == "http://127.0.0.1:1/v1/structures/7"
    assert found.volume_angstrom3 == pytest.approx(2 * 2.1**3)
    assert found.properties == {
        "band_gap_ind": 4.5,
        "e_above_hull": 0.0,
        "spg": 225,
        "total_mag": 0.01,
        "given_as": "band_gap_ind = _here_gap, e_above_hull = _here_stability.pbe.hull, spg = _here_group, "
        "total_mag = _here_magnetization",
        "database": "here",
        "database_id": "7",
    }


def test_without_species_the_names_of_sites_are_symbols() -> None:
    assert isinstance(read(entry(species=None)), Crystal)


def test_what_is_said_in_a_wrong_type_is_not_known() -> None:
    found = read(
        entry(_here_gap="4.5", _here_stability=[1], _here_group=225.5, _here_magnetization=10**400)
    )
    assert isinstance(found, Crystal)
    assert found.properties == {"database": "here", "database_id": "7"}


def test_magnetic_ones_are_refused_by_the_name_of_the_server() -> None:
    found = read(entry(_here_magnetization=2.0))
    assert isinstance(found, Rejected)
    assert found.reason == "magnetic (total_mag 2.00 Bohr magnetons), and spin is not treated"


_PARTIAL = [
    {"name": "Mg", "chemical_symbols": ["Mg", "vacancy"], "concentration": [0.5, 0.5]},
    MGO["species"][1],
]
_ATTACHED = [{**MGO["species"][0], "attached": ["H"], "nattached": [1]}, MGO["species"][1]]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({"attributes": MGO}, "field id is missing"),
        (entry(own_id=True), "field id is missing"),
        (entry(own_id={"a": 1}), "field id is missing"),
        ({"id": "7"}, "field attributes is missing"),
        ({"id": "7", "attributes": [MGO]}, "field attributes is missing"),
        (entry(lattice_vectors=None), "field lattice_vectors is missing"),
        (entry(lattice_vectors=[[1, 2], [3, 4]]), "field lattice_vectors: no vectors of three"),
        (entry(lattice_vectors=[[1, 0, 0], [0, 1, 0]]), "field lattice_vectors: 2 vectors"),
        (entry(lattice_vectors=[["1", 0, 0]] * 3), "field lattice_vectors: something else than numbers"),
        (
            entry(lattice_vectors=[[None, None, None]] * 3),
            "field lattice_vectors: something else than numbers",
        ),
        (entry(lattice_vectors=[[10**400, 0, 0]] * 3), "field lattice_vectors: too large a number"),
        (entry(lattice_vectors=[[float("inf"), 0, 0]] * 3), "field lattice_vectors: not finite"),
        (entry(lattice_vectors=[[1, 0, 0]] * 3), "field lattice_vectors: no volume"),
        (
            entry(cartesian_site_positions=[[0, 0, 0]]),
            "fields species_at_sites and cartesian_site_positions: 2 and 1",
        ),
        (entry(cartesian_site_positions=[[0, 0, True], [1, 1, 1]]), "something else than numbers"),
        (entry(species_at_sites=None), "field species_at_sites is missing"),
        (entry(species_at_sites=["Mg", 8]), "field species_at_sites: no texts"),
        (entry(species={"Mg": 1}), "field species: no list"),
        (entry(species=["Mg", "O"]), "field species: name, chemical_symbols or concentration is missing"),
        (
            entry(species=[{"name": "Mg", "chemical_symbols": ["Mg"], "concentration": [1, 2]}]),
            "makes no sense",
        ),
        (
            entry(species=[{"name": "O", "chemical_symbols": ["vacancy"], "concentration": [1]}]),
            "a vacancy alone",
        ),
        (entry(species=_PARTIAL), "partially occupied"),
        (entry(species=_ATTACHED), "atoms without a position of their own (nattached)"),
        (entry(structure_features=["assemblies", 3]), "atoms without a position of their own (assemblies)"),
        (entry(nperiodic_dimensions=2), "not periodic in three dimensions"),
        (entry(species=None, species_at_sites=["Mg", "Qq"]), "field structure"),
        (entry(species=None, species_at_sites=["Mg", "U"]), "no pseudopotential"),
        (entry(cartesian_site_positions=[[0, 0, 0], [0, 0, 0.1]]), "0.10 angstrom apart"),
        (entry(species_at_sites=["O"] * 1001), "1001 atoms in the cell"),
    ],
)
def test_what_cannot_be_a_crystal_is_named(what: Any, reason: str) -> None:
    found = read(what)
    assert isinstance(found, Rejected)
    assert reason in found.reason
    assert found.source.startswith(f"{URL}/structures")
    assert found.fix


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.sampled_from(["Mg", "O", "D", "X", "vacancy", "", "Mg2+", "\ud800", "1.5"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "chemical_symbols", "concentration", "nattached"]), inner
        )
    ),
    max_leaves=12,
)
_NUMBERS = st.sampled_from([0, 0.0, -1, 1, 0.5, 1.0000001, 1e-12, 1e300, 2])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*MGO, "structure_features", "nperiodic_dimensions", "id", "attributes"]), _JSON)
def test_no_field_can_be_so_wrong_that_it_raises(field: str, value: Any) -> None:
    whole = entry()
    (whole if field in ("id", "attributes") else whole["attributes"])[field] = value
    read(whole)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Mg", "O", "D", "X", "vacancy", "Mg2+", "Og", "He"]), _NUMBERS),
        max_size=3,
    ),
    st.lists(_NUMBERS, min_size=9, max_size=9),
)
def test_no_species_and_no_cell_can_be_so_wrong_that_it_raises(
    on_site: list[tuple[str, float]], cell: list[float]
) -> None:
    symbols, shares = [symbol for symbol, _ in on_site], [share for _, share in on_site]
    species = [{"name": "Mg", "chemical_symbols": symbols, "concentration": shares}, MGO["species"][1]]
    read(entry(species=species))
    read(entry(lattice_vectors=[cell[:3], cell[3:6], cell[6:]]))


def test_ids_are_safe_and_stay_apart() -> None:
    ids = [
        "7",
        "mc3d-1/pbe",
        "mc3d-1-pbe",
        "../../etc/passwd",
        "a b",
        "a\tb",
        "ä",
        "\ud800",
        "x" * 500,
        "x" * 501,
    ]
    names = [material_id(HERE, own_id) for own_id in ids]
    assert len(set(names)) == len(ids)
    assert all(MATERIAL_ID.fullmatch(name) for name in names)
    assert names[0] == "here-7"
    assert names[2] == "here-mc3d-1-pbe"
    for own_id in ids:
        cut = read_entry(entry(own_id), 1, HERE, NAMES, URL)
        assert isinstance(cut, Unparsed)
        assert cut.source.isascii()
        assert cut.properties["database_id"].isprintable()


def test_ids_that_are_known_stand_for_themselves() -> None:
    alexandria = Provider("alexandria", "https://example.org", keeps_ids=True)
    assert material_id(alexandria, "agm003157631") == "agm003157631"
    assert material_id(Provider("cod", ""), "1000041") == "cod-1000041"
    assert material_id(Provider("mp", ""), "mp-149") == "mp-149"
    # Twice the same prefix says nothing more.
    assert material_id(Provider("mc3d", ""), "mc3d-10001") == "mc3d-10001"
    assert (
        material_id(Provider("alexandria.pbesol", ""), "agm003157631") == "alexandria-pbesol-agm003157631"
    )
    assert material_id(alexandria, "agm/1").startswith("alexandria-agm-1-")
