from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from interchange_samples import CELLS, PROTOCOL, changed, computed

from farm.errors import InputError
from farm.interchange.cells import material_id_of
from farm.interchange.directory import entry_text
from farm.interchange.own_entry import is_own, result_of_own
from farm.job import Outcome
from farm.result import Result


def there(result: Result) -> Any:
    return orjson.loads(entry_text(result))


def back(entry: Any) -> Result:
    assert is_own(entry["data"])
    return result_of_own(entry, material_id_of(entry))


def ends_of(result: Result) -> Result:
    """What an entry has room for: the ladder's ends, no bands."""
    ladder = result.ladder if len(result.ladder) < 3 else (result.ladder[0], result.ladder[-1])
    return replace(result, ladder=ladder, band_structure=None)


@pytest.mark.parametrize("cell", CELLS)
def test_a_result_comes_back_as_it_was(cell: str) -> None:
    result = computed(3, cell)
    assert back(there(result)).pack() == ends_of(result).pack()


@pytest.mark.parametrize(
    "fields",
    [
        {"ladder": (), "outcome": Outcome.METAL, "reason": "indirect gap 0.000 eV", "gap_direct_ev": None},
        {"ladder": (), "outcome": Outcome.FAILED, "reason": "no", "diagnosis": "disk_full", "advice": "x"},
        {"ladder": computed(3).ladder[:1], "protocol": PROTOCOL.ipa_only().to_dict()}
        | {"protocol_hash": PROTOCOL.ipa_only().hash, "gmax_converged_mry": (None, None, None)},
        {"ladder": computed(3).ladder[:2], "outcome": Outcome.UNCONVERGED, "reason": "no"},
        {"origin": {"format": "other", "says": [1, 2.5, None]}},
    ],
)
def test_whatever_the_outcome(fields: dict[str, Any]) -> None:
    result = computed(3, **fields)
    assert back(there(result)).pack() == ends_of(result).pack()


def test_equal_directions_are_left_out_as_in_the_published_files() -> None:
    data = there(computed(3, "tetragonal"))["data"]
    for name in ("ipa_epsI", "ipa_epsR", "rpa_epsI", "rpa_epsR"):
        assert list(data[name]) == ["xx", "zz"]
        assert len(data[name]["zz"]) == 101
    assert data["rpa_similarity"] == [0.93, 0.0, 1 / 3]
    assert list(there(computed(3, "orthorhombic"))["data"]["rpa_epsI"]) == ["xx", "yy", "zz"]


def test_directions_equal_by_chance_alone_stay() -> None:
    result = computed(3, "orthorhombic")
    eps = np.repeat(result.ladder[0].eps[:1], 3, axis=0)
    result = replace(result, ladder=tuple(replace(step, eps=eps) for step in result.ladder))
    entry = there(result)
    assert list(entry["data"]["ipa_epsI"]) == ["xx", "yy", "zz"]
    assert back(entry).pack() == ends_of(result).pack()


def test_numbers_are_as_short_as_float32_allows() -> None:
    result = computed(3)
    eps = np.full((3, 101), 0.1 + 0.7j, dtype=np.complex64).astype(np.complex128)
    text = entry_text(replace(result, ladder=(replace(result.ladder[0], eps=eps),)))
    assert b'"ipa_epsR":{"xx":[0.1,0.1,' in text
    assert b'"ipa_epsI":{"xx":[0.7,0.7,' in text


def test_pymatgen_and_the_notebooks_of_the_field_read_it() -> None:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    result = computed(3, "tetragonal")
    entry = ComputedStructureEntry.from_dict(json.loads(entry_text(result)))
    assert np.array_equal(
        np.float32(entry.data["rpa_epsI"]["xx"]), np.float32(result.ladder[-1].eps[0].imag)
    )
    assert np.array_equal(
        np.float32(entry.data["ipa_epsR"]["zz"]), np.float32(result.ladder[0].eps[2].real)
    )
    assert entry.parameters["rpa_G"] == [4000, 0, 6000]
    assert entry.parameters["rpa_broad"] == 0.3
    assert entry.parameters["rpa_kppa"] == 729 * 2
    assert entry.data["mat_id"] == entry.entry_id == "m3"
    assert entry.data["nsites"] == len(entry.structure)
    assert entry.structure.lattice.c == pytest.approx(5.1)
    assert entry.structure[0].frac_coords.tolist() == list(result.crystal.frac_coords[0])
    assert entry.energy == -12.8779842
    unknown = replace(result, crystal=replace(result.crystal, properties={}))
    assert ComputedStructureEntry.from_dict(there(unknown)).entry_id == "m3"
    # What pymatgen writes again is taken back, too.
    again = back(json.loads(json.dumps(entry.as_dict(), default=float)))
    assert again.pack() == ends_of(result).pack()


BAD: dict[str, tuple[str, Any, str]] = {
    "another protocol": ("data.farm.protocol.damping_ev", 0.1, "farm.protocol_hash is not that of"),
    "no engine": ("data.farm.engine", ..., "not a result record"),
    "unknown engine": ("data.farm.engine", "vasp", "not a result record"),
    "unknown outcome": ("data.farm.outcome", "great", "not a result record"),
    "another version": ("data.farm.version", 99, "not a result record"),
    "no reason": ("data.farm.reason", ..., "data.farm.reason is missing"),
    "gap in words": ("data.farm.gap_direct_ev", "large", "data.farm.gap_direct_ev is of another kind"),
    "cutoff in words": ("data.farm.ladder.0.gmax_mry", "0", "data.farm.ladder[0].gmax_mry: the text '0'"),
    "step no object": ("data.farm.ladder.1", 5, "data.farm.ladder[1] is no object"),
    "similarity of two": (
        "data.farm.ladder.1.step_similarity",
        [1, 2],
        "step_similarity is no list of three",
    ),
    "converged in words": ("data.farm.gmax_converged_mry", ["a", None, 1], "gmax_converged_mry: the text"),
    "stages no list": ("data.farm.stages", 5, "data.farm.stages is of another kind"),
    "cost in words": ("data.farm.stages.0.cpu_s", "much", "data.farm.stages[0].cpu_s: the text 'much'"),
    "origin of another": ("data.farm.origin", {"format": "htrpa"}, "data.farm.origin is of an entry"),
    "unknown stage": ("data.farm.stages.0.stage", "tea", "not a result record"),
    "no spectrum": ("data.rpa_epsI", ..., "data.rpa_epsI is missing"),
    "too short": ("data.rpa_epsI.xx", [1.0], "data.rpa_epsI.xx has 1 numbers"),
    "no lattice": ("structure.lattice", ..., "field structure"),
    "a length beyond all numbers": ("structure.lattice.matrix.0.0", 1e155, "structure.lattice.matrix"),
    "no element": ("structure.sites.0.species", [], "field structure"),
    "coordinates of two": ("structure.sites.0.abc", [0.5, 0.5], "field structure: not a crystal record"),
    "energies without number": ("data.farm.protocol", {}, "farm.protocol_hash is not that of"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_was_tampered_with_is_refused_by_field(bad: str) -> None:
    path, value, message = BAD[bad]
    with pytest.raises(InputError, match=re.escape(message)):
        back(changed(there(computed(3, "tetragonal")), path, value))


def test_a_protocol_out_of_bounds_is_refused_whatever_its_hash() -> None:
    # As many energies as would fill the memory.
    protocol = PROTOCOL.to_dict() | {"n_energies": 10**12}
    text = json.dumps(protocol, sort_keys=True, separators=(",", ":"))
    entry = there(computed(3, ladder=(), outcome=Outcome.METAL))
    entry["data"]["farm"] |= {
        "protocol": protocol,
        "protocol_hash": hashlib.sha256(text.encode()).hexdigest(),
    }
    with pytest.raises(InputError, match=r"data\.farm\.protocol: field n_energies"):
        back(entry)
