"""Protocols: frozen, hashed, with named errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from farm.errors import ProtocolError
from farm.protocol import PRESETS, Protocol, load_protocol


def test_the_paper_preset_is_the_published_protocol() -> None:
    paper = PRESETS["paper"]
    assert (paper.ecutwfc_ry, paper.ecutwfc_step_ry, paper.energy_tolerance_kcal_mol) == (60, 5, 1.0)
    assert (paper.ground_state_kppa, paper.response_kppa) == (1500, 1500)
    assert paper.response_kshift == (1 / 64, 2 / 64, 3 / 64)
    assert (paper.n_energies, paper.energy_max_ev, paper.damping_ev) == (2001, 20.0, 0.3)
    assert paper.gmax_mry[:3] == (0, 2000, 4000)
    assert (paper.similarity_threshold, paper.green_function) == (0.9, "time-ordered")


def test_the_hash_follows_every_field() -> None:
    base = Protocol()
    assert Protocol().hash == base.hash
    changed = {
        name: Protocol.model_validate({**base.to_dict(), name: value}).hash for name, value in OTHER.items()
    }
    assert len({base.hash, *changed.values()}) == len(OTHER) + 1
    # The fields with one allowed value cannot change; all others are covered above.
    assert set(OTHER) == set(Protocol.model_fields) - {"functional", "pseudopotentials"}


OTHER = {
    "ecutwfc_ry": 65,
    "ecutwfc_step_ry": 10,
    "ecutwfc_max_ry": 100,
    "ecutrho_per_ecutwfc": 3.0,
    "ground_state_kppa": 1000,
    "ground_state_kppa_max": 9000,
    "energy_tolerance_kcal_mol": None,
    "scf_threshold_ry": 1e-8,
    "max_scf_iterations": 50,
    "bands": "nscf",
    "bands_tolerance_mev": 2.0,
    "bands_top_tolerance_mev": 5.0,
    "band_path_points": 80,
    "response_kppa": 1000,
    "kgrid": "converged",
    "kgrid_similarity": 0.99,
    "kgrid_kppa_max": 50_000,
    "response_kshift": (0.0, 0.0, 0.0),
    "energy_window_ev": 24.0,
    "metal_gap_ev": 0.1,
    "energy_max_ev": 15.0,
    "n_energies": 1001,
    "damping_ev": 0.1,
    "green_function": "retarded",
    "gmax_step_mry": 1000,
    "gmax_max_mry": 8000,
    "similarity_threshold": 0.95,
}


def test_a_converged_grid_needs_the_reduced_basis() -> None:
    with pytest.raises(ProtocolError, match="kgrid = 'converged' needs bands = 'reduced-basis'"):
        Protocol.from_dict({"kgrid": "converged", "bands": "nscf"})


def test_a_changed_copy_has_its_own_hash() -> None:
    demo = PRESETS["demo"]
    before = demo.hash
    copy = demo.model_copy(update={"damping_ev": 0.1})
    assert copy.hash == Protocol.from_dict(copy.to_dict()).hash != before


def test_the_presets_keep_their_hashes() -> None:
    # What is stored under them would be computed again.
    assert {name: preset.hash for name, preset in PRESETS.items()} == {
        "paper": "10e8097984c74125610c1eb6f30629fe0cb930031aa22c8c5af7145c84a6191a",
        "demo": "51b583af65df5e251e2d01b03f151d7632d79f2e37a3af4e19ddb7185dc70701",
    }


@pytest.mark.parametrize("name", list(PRESETS))
def test_without_local_fields_there_is_ipa_alone(name: str) -> None:
    preset = PRESETS[name]
    ipa = preset.ipa_only()
    assert not preset.is_ipa_only
    assert ipa.is_ipa_only
    assert ipa.gmax_mry == (0,)
    assert ipa.hash != preset.hash
    assert {key for key, value in ipa.to_dict().items() if value != preset.to_dict()[key]} == {
        "gmax_max_mry"
    }
    assert ipa.ipa_only() == ipa
    assert Protocol.from_dict(ipa.to_dict()) == ipa


def test_protocols_that_differ_in_their_ladder_alone_share_one_ipa() -> None:
    paper = PRESETS["paper"]
    ladders: dict[str, float] = {"gmax_max_mry": 4000, "gmax_step_mry": 1000, "similarity_threshold": 0.5}
    siblings = [paper.model_copy(update={field: value}) for field, value in ladders.items()]
    assert len({protocol.hash for protocol in (paper, *siblings)}) == 4
    assert {protocol.ipa_only().hash for protocol in (paper, *siblings)} == {paper.ipa_only().hash}
    alone = Protocol.from_dict({"gmax_max_mry": 0, "gmax_step_mry": 500})
    assert {protocol.ipa_hash for protocol in (paper, *siblings, alone)} == {paper.ipa_only().hash}
    for field in set(OTHER) - set(ladders) - {"kgrid"}:
        other = Protocol.from_dict({field: OTHER[field]})
        assert other.ipa_hash != paper.ipa_hash, field


def test_a_grid_that_is_judged_with_local_fields_may_give_another_ipa() -> None:
    converged = Protocol(kgrid="converged")
    assert converged.ipa_hash == converged.hash
    assert converged.ipa_only().ipa_hash == converged.ipa_only().hash != converged.ipa_hash


def test_a_protocol_survives_json() -> None:
    for preset in PRESETS.values():
        assert Protocol.from_dict(preset.to_dict()) == preset


def test_a_protocol_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PRESETS["demo"].damping_ev = 0.1  # type: ignore[misc]  # that is the point


def test_every_field_has_unit_and_kind() -> None:
    for name, field in Protocol.model_json_schema()["properties"].items():
        assert field["kind"] in ("physics", "numerics"), name
        assert "unit" in field, name


def test_a_file_changes_fields_of_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "fine.toml"
    path.write_text("preset = 'demo'\ndamping_ev = 0.1\n")
    protocol = load_protocol(str(path))
    assert protocol == PRESETS["demo"].model_copy(update={"damping_ev": 0.1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("damping = 0.1\n", r"field damping: no such field\."),
        ("damping_ev = nan\n", "field damping_ev: .*finite number"),
        ("preset = ['demo']\n", "no preset"),
        ("ecutwfc_ry = 200\n", "ecutwfc_ry is above ecutwfc_max_ry"),
        ("gmax_step_mry = 20000\n", "gmax_step_mry is above gmax_max_mry"),
        ("gmax_max_mry = 1000\n", "gmax_step_mry is above gmax_max_mry"),
        ("gmax_max_mry = -2000\n", "field gmax_max_mry: .*greater than or equal to 0"),
        ("response_kppa = 100000000\n", "response_kppa: .*less than or equal to 1000000"),
        ("damping_ev = -1\n", "field damping_ev: .*greater than 0"),
        ("preset = 'quick'\n", "no preset 'quick'"),
        ("damping_ev =\n", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ProtocolError, match=told) as caught:
        load_protocol(str(path))
    assert "wrong.toml" in str(caught.value)


def test_an_unknown_protocol_names_the_known() -> None:
    with pytest.raises(ProtocolError, match="paper, demo"):
        load_protocol("papre")
