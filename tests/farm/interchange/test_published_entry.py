from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interchange_samples import CELLS, PROTOCOL, TERMS, changed, entry, same, spectra

from farm.errors import InputError, ProtocolError, StoreError
from farm.interchange.cells import material_id_of
from farm.interchange.directory import entry_text
from farm.interchange.published_entry import published_entry_of, result_of_published
from farm.interchange.terms import Terms
from farm.job import Engine, Outcome
from farm.protocol import PRESETS, Protocol
from farm.result import Result

NAN = math.nan
LARGEST = float(np.finfo(np.float32).max)


def taken(sample: Any, terms: Terms = TERMS) -> Result:
    """What becomes of an entry on its way through a file and the store's messages."""
    result = result_of_published(sample, terms, material_id_of(sample), "file.json")
    return Result.unpack(result.pack())


@pytest.mark.parametrize("cell", CELLS)
def test_an_entry_comes_back_to_the_last_bit(cell: str) -> None:
    sample = entry(3, cell)
    result = taken(sample)
    assert same(published_entry_of(result), sample)
    assert same(json.loads(entry_text(result)), sample)


def test_the_spectra_are_where_the_file_has_them() -> None:
    result = taken(entry(3, "tetragonal"))
    assert [step.gmax_mry for step in result.ladder] == [0, 6000]
    for step, shift in zip(result.ladder, (0, 3), strict=True):
        for direction, place in enumerate((0, 0, 1)):
            real, imaginary = spectra(3 + shift + 10 * place)
            assert np.array_equal(step.eps[direction].real, np.float32(real))
            assert np.array_equal(step.eps[direction].imag, np.float32(imaginary))


def test_what_a_file_says_is_what_the_result_says() -> None:
    result = taken(entry(3, "tetragonal"))
    assert (result.engine, result.outcome, result.reason) == (Engine.YAMBO, Outcome.DONE, "")
    assert result.gmax_converged_mry == (4000, 4000, 6000)
    assert result.ladder[1].step_similarity == (0.9493585228919983, 0.9493585228919983, 0.9713453650474548)
    assert (result.gap_indirect_ev, result.gap_direct_ev) == (3.643791342118722, 4.034848175021412)
    assert result.space_group == "P4/mmm"
    assert result.parameters == {"rpa_kppa": 1458, "rpa_G": [4000, 0, 6000], "rpa_broad": 0.3}
    assert result.crystal.properties["band_gap_ind"] == 3.6353
    assert result.crystal.material_id == "agm000000003"


def test_the_cell_stays_as_it_lies() -> None:
    # Reduced, this cell would be turned, and the spectra with it.
    lattice = CELLS["tetragonal along x"][0]
    crystal = taken(entry(1, "tetragonal along x")).crystal
    assert np.array_equal(crystal.lattice, lattice)
    crystal = taken(entry(1, "cubic")).crystal
    assert np.array_equal(crystal.lattice, CELLS["cubic"][0])
    assert crystal.formula == "MgO"  # in the order of chemists, as the farm names its own


def test_the_protocol_is_the_one_that_seeding_for_yambo_has() -> None:
    paper = PRESETS["paper"]
    for_yambo = Protocol.from_dict({**paper.to_dict(), "bands": "nscf"})
    assert Terms.of(paper).with_fields == (for_yambo.to_dict(), for_yambo.hash)
    denser = Protocol.from_dict({**for_yambo.to_dict(), "response_kppa": 600})
    assert Terms.of(paper, kppa=600).with_fields[1] == denser.hash


def test_ipa_alone_is_a_result_without_local_fields() -> None:
    sample = entry(5, "hexagonal", has_rpa=False)
    result = taken(sample)
    alone = Terms.of(PROTOCOL).protocol.ipa_only()
    assert (result.protocol, result.protocol_hash) == (alone.to_dict(), alone.hash)
    assert result.outcome is Outcome.DONE
    assert result.ipa is not None
    assert result.rpa is None
    assert same(published_entry_of(result), sample)


def all_nan(sample: Any, value: Any) -> Any:
    for name in ("ipa_epsR", "ipa_epsI", "rpa_epsR", "rpa_epsI"):
        sample = changed(sample, f"data.{name}", value)
    return sample


@pytest.mark.parametrize(
    "metal",
    [
        all_nan(entry(), NAN),
        all_nan(entry(), [NAN] * 101),
        all_nan(entry(), {"xx": NAN}),
        all_nan(entry(), {"xx": [NAN] * 101}),
        changed(entry(), "data.ipa_indirect_gap", NAN),
        changed(all_nan(entry(), ...), "data.ipa_direct_gap", NAN),
    ],
)
def test_nan_is_a_metal_and_nothing_of_it_stays(metal: Any) -> None:
    result = taken(metal)
    assert result.outcome is Outcome.METAL
    assert "NaN" in result.reason
    assert result.ladder == ()
    assert (result.gap_indirect_ev, result.gap_direct_ev) == (None, None)
    json.dumps([dict(result.origin), result.crystal.to_dict(), dict(result.parameters)], allow_nan=False)
    assert same(published_entry_of(result), metal)
    assert same(json.loads(entry_text(result)), metal)


def test_nan_beside_the_spectra_harms_nothing() -> None:
    sample = changed(entry(), "data.stress.1.2", NAN)
    sample = changed(sample, "data.e_above_hull", -math.inf)
    result = taken(sample)
    assert result.outcome is Outcome.DONE
    assert "e_above_hull" not in result.crystal.properties
    assert same(json.loads(entry_text(result)), sample)


def test_a_poor_last_step_is_not_passed_off_as_converged() -> None:
    sample = changed(entry(2, "tetragonal"), "data.rpa_similarity", [0.95, 0.0, 0.85])
    result = taken(sample)
    assert result.outcome is Outcome.UNCONVERGED
    assert result.gmax_converged_mry == (4000, 4000, None)
    assert "0.850" in result.reason
    assert "zz" in result.reason
    assert result.rpa is not None
    assert same(published_entry_of(result), sample)


# A dozen by chance, and the same over and over: a hundred would take minutes to shrink.
NUMBERS = st.lists(
    st.floats(min_value=-LARGEST, max_value=LARGEST) | st.integers(-(2**53), 2**53),
    min_size=1,
    max_size=12,
).map(lambda numbers: (numbers * 101)[:101])


@given(NUMBERS, NUMBERS)
def test_any_finite_numbers_come_back(real: list[float], imaginary: list[float]) -> None:
    sample = changed(entry(), "data.ipa_epsR.xx", real)
    sample = changed(sample, "data.rpa_epsI.xx", imaginary)
    sample = json.loads(json.dumps(sample))
    back = json.loads(entry_text(taken(sample)))
    for name, numbers in (("ipa_epsR", real), ("rpa_epsI", imaginary)):
        found = np.array(back["data"][name]["xx"], dtype=float)
        assert found.tobytes() == np.array(numbers, dtype=float).tobytes()


TWO = entry(1, "tetragonal")
BAD: dict[str, tuple[Any, str]] = {
    "no data": (changed(entry(), "data", ...), "field data is missing"),
    "data no object": (changed(entry(), "data", [1]), "field data is no object"),
    "no structure": (changed(entry(), "structure", ...), "field structure is missing"),
    "no lattice": (changed(entry(), "structure.lattice", ...), "structure.lattice is missing"),
    "lattice of two": (changed(entry(), "structure.lattice.matrix.2", ...), "lattice.matrix is no list of"),
    "lattice in words": (
        changed(entry(), "structure.lattice.matrix.0.0", "4"),
        "the text '4' is no number",
    ),
    "flat cell": (
        changed(entry(), "structure.lattice.matrix.2", [2.1, 0.0, 2.1]),
        "field structure: the cell has a volume of 0.000",
    ),
    "lattice too large": (changed(entry(), "structure.lattice.matrix.2.0", 1e9), "not a usable number"),
    "atoms on each other": (
        changed(TWO, "structure.sites.1.abc", [0.0, 0.0, 0.01]),
        "field structure: sites 1 .* angstrom apart",
    ),
    "no sites": (changed(entry(), "structure.sites", []), "structure.sites is missing"),
    "unknown element": (
        changed(entry(), "structure.sites.0.species.0.element", "Xx"),
        r"structure.sites\[0\].species: 'Xx' is no element",
    ),
    "half an atom": (
        changed(entry(), "structure.sites.0.species.0.occu", 0.5),
        "partially occupied",
    ),
    "other number of sites": (changed(entry(), "data.nsites", 3), "data.nsites is 3, .* 2 sites"),
    "no part": (changed(entry(), "data.ipa_epsR", ...), "data.ipa_epsR is missing"),
    "no spectra": (all_nan(entry(), ...), "data.ipa_epsI is missing"),
    "part null": (changed(entry(), "data.rpa_epsI", None), "data.rpa_epsI is missing"),
    "part a list": (changed(entry(), "data.rpa_epsI", [1.0] * 101), "data.rpa_epsI is no object"),
    "direction null": (changed(entry(), "data.ipa_epsI.xx", None), "data.ipa_epsI.xx is missing"),
    "no direction": (changed(entry(), "data.ipa_epsI", {}), "data.ipa_epsI has no direction"),
    "off the diagonal": (changed(entry(), "data.ipa_epsI.xy", [0.0] * 101), "has the direction 'xy'"),
    "parts along others": (changed(TWO, "data.ipa_epsI.zz", ...), "ipa_epsR and ipa_epsI have other"),
    "direction not equal": (
        changed(changed(TWO, "data.ipa_epsI.zz", ...), "data.ipa_epsR.zz", ...),
        "data.ipa_epsI has xx, and in this cell nothing makes yy, zz equal to it",
    ),
    "too short": (changed(entry(), "data.rpa_epsI.xx", [0.1] * 100), "rpa_epsI.xx has 100 numbers, .* 101"),
    "numbers as text": (changed(entry(), "data.ipa_epsI.xx.7", "0.1"), "ipa_epsI.xx: number 8 is the text"),
    "truth for number": (changed(entry(), "data.ipa_epsI.xx.7", True), "number 8 is the word 'True'"),
    "null for number": (changed(entry(), "data.ipa_epsI.xx.7", None), "number 8 is a NoneType"),
    "one NaN": (changed(entry(), "data.ipa_epsI.xx.7", NAN), "ipa_epsI.xx: number 8 is nan"),
    "infinite": (changed(entry(), "data.rpa_epsR.xx.0", math.inf), "rpa_epsR.xx: number 1 is inf"),
    "huge": (changed(entry(), "data.rpa_epsR.xx.0", 1e39), "rpa_epsR.xx: number 1 is 1e"),
    "huge and whole": (changed(entry(), "data.rpa_epsR.xx.0", 10**400), "rpa_epsR.xx: number 1 is inf"),
    "one rung NaN": (
        changed(changed(entry(), "data.rpa_epsR", NAN), "data.rpa_epsI", NAN),
        "data.rpa_epsR is no object",
    ),
    "gap in words": (changed(entry(), "data.ipa_direct_gap", "4"), "data.ipa_direct_gap: the text '4'"),
    "no parameters": (changed(entry(), "parameters", ...), "field parameters is missing"),
    "no broadening": (changed(entry(), "parameters.rpa_broad", ...), "parameters.rpa_broad is missing"),
    "other broadening": (
        changed(entry(), "parameters.rpa_broad", 0.1),
        "parameters.rpa_broad is 0.1 eV, damping_ev of the protocol 0.3",
    ),
    "no k-grid": (changed(entry(), "parameters.rpa_kppa", ...), "parameters.rpa_kppa is missing"),
    "coarser k-grid": (
        changed(entry(), "parameters.rpa_kppa", 432),
        "parameters.rpa_kppa is 432, response_kppa of the protocol 1500",
    ),
    "denser k-grid": (changed(entry(), "parameters.rpa_kppa", 12000), "parameters.rpa_kppa is 12000"),
    "no cutoffs": (changed(entry(), "parameters.rpa_G", ...), "parameters.rpa_G is missing"),
    "one cutoff": (changed(entry(), "parameters.rpa_G", 4000), "parameters.rpa_G is no list of three"),
    "cutoff 0": (changed(entry(), "parameters.rpa_G", [0, 0, 0]), "parameters.rpa_G is 0 mRy along xx"),
    "broken cutoff": (changed(entry(), "parameters.rpa_G.0", 0.5), "parameters.rpa_G: 0.5 is no whole"),
    "no similarity": (changed(entry(), "data.rpa_similarity", ...), "data.rpa_similarity is missing"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_field_is_named_with_what_mends_it(bad: str) -> None:
    sample, message = BAD[bad]
    with pytest.raises(InputError, match=message) as caught:
        taken(sample)
    assert caught.value.fix
    assert not caught.value.fix.endswith(".")


def test_a_thin_cell_is_looked_at_closely_and_taken() -> None:
    sample = entry(1, "tetragonal")
    sample = changed(
        sample, "structure.lattice.matrix", [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 1.1]]
    )
    result = taken(sample)
    assert result.crystal.lattice[2, 2] == 1.1
    assert result.crystal.formula == "NaCl"


def test_a_long_cell_may_have_more_points_than_twice_the_density() -> None:
    long = changed(entry(1, "tetragonal"), "structure.lattice.matrix.2.2", 60.0)
    n_kpoints = 2 * (12 * 12 * 2)
    with pytest.raises(InputError, match="rpa_kppa is 6000"):
        taken(changed(long, "parameters.rpa_kppa", 6000))
    assert taken(changed(long, "parameters.rpa_kppa", n_kpoints * 4)).outcome is Outcome.DONE


def test_a_protocol_without_local_fields_takes_no_rpa() -> None:
    terms = Terms.of(PROTOCOL.ipa_only())
    with pytest.raises(InputError, match=r"data\.rpa_epsI has local fields, the protocol none"):
        taken(entry(), terms)
    assert taken(entry(has_rpa=False), terms).outcome is Outcome.DONE


def test_a_grid_of_k_points_that_is_converged_was_not_published() -> None:
    with pytest.raises(ProtocolError, match="kgrid"):
        Terms.of(Protocol.from_dict({**PRESETS["paper"].to_dict(), "kgrid": "converged"}))


@pytest.mark.parametrize(
    "origin",
    [
        {"format": "htrpa"},
        {"format": "htrpa", "entry": {"data": {"ipa_epsR": {"xx": 5}}}},
        {"format": "htrpa", "entry": {"data": {"ipa_epsR": 1}}},
        {"format": "htrpa", "entry": {"data": {}}, "not_finite": [[["data", "x", "y"], "NaN"]]},
    ],
)
def test_a_damaged_origin_is_one_clear_error(origin: dict[str, Any]) -> None:
    result = taken(entry())
    damaged = Result.unpack(Result(**{**vars(result), "origin": origin}).pack())
    with pytest.raises(StoreError, match="agm000000000: field origin is damaged"):
        published_entry_of(damaged)
