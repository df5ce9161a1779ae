"""Checkpoints: what is altered is refused, `latest` is never absent, and the way back works."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoint_samples import make_card, write_versions

from farm.errors import CheckpointError
from trainer.checkpoints.card import read_card, verify
from trainer.checkpoints.exchange import pull
from trainer.checkpoints.registry import Registry
from trainer.networks import architectures
from trainer.networks.architectures import build, new_model
from trainer.networks.graph import crystal_graph
from trainer.networks.network import predict_spectra


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "checkpoints")


@pytest.fixture
def written(registry, small_config):
    """Three versions, each the parent of the next, the last in use."""
    versions = write_versions(registry, small_config, 3)
    registry.promote(versions[-1])
    return versions


def test_what_is_loaded_is_what_was_written(registry, small_config, rock_salt):
    models = {"ipa": new_model(small_config, 1), "rpa": new_model(small_config, 2)}
    card = registry.write(models, make_card(small_config))
    registry.promote(card.version)
    graphs = [crystal_graph(rock_salt("Mg", "O"))]
    for rung, model in models.items():
        loaded, found = registry.load(rung=rung)
        assert torch.equal(predict_spectra(loaded, graphs), predict_spectra(model, graphs))
        assert found == card
        assert not loaded.training
    by_path, _ = registry.load(registry.directory / card.version)
    assert torch.equal(by_path.state_dict()["gat1.att"], models["rpa"].state_dict()["gat1.att"])


def test_versions_are_numbered_and_end_in_their_cards_digest(registry, written):
    assert registry.versions() == written
    assert [v.split("-")[0] for v in written] == ["0001", "0002", "0003"]
    card = read_card(registry.directory / written[1])
    assert written[1].endswith(card.digest[:6])
    assert card.parent == written[0]
    assert sorted(card.files) == ["ipa.safetensors", "rpa.safetensors"]


def test_nothing_half_written_is_left_or_seen(registry, small_config, monkeypatch):
    def full_disk(*_: Path) -> Path:
        raise OSError(28, "No space left on device")

    registry.directory.mkdir()
    monkeypatch.setattr(Path, "rename", full_disk)
    with pytest.raises(CheckpointError, match="No space"):
        registry.write({"rpa": new_model(small_config, 0)}, make_card(small_config))
    assert registry.versions() == []
    assert list(registry.directory.iterdir()) == []


def test_altered_weights_are_refused_everywhere(registry, written, tmp_path):
    path = registry.directory / written[-1] / "rpa.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    elsewhere = Registry(tmp_path / "elsewhere")
    for attempt in (
        registry.load,
        lambda: verify(registry.directory / written[-1]),
        lambda: registry.promote(written[-1]),
        lambda: pull(elsewhere, registry.directory),
    ):
        with pytest.raises(CheckpointError, match=r"rpa\.safetensors: does not match") as error:
            attempt()
        assert "farm pull" in error.value.fix
    assert elsewhere.versions() == []
    # The other rung is whole.
    registry.load(rung="ipa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card | {"n_train": 10_000}, "altered"),
        (lambda card: card | {"files": {**card["files"], "../../x": "0" * 64}}, "altered"),
        (lambda card: card | {"format": 99}, "format 99"),
        (lambda card: {k: v for k, v in card.items() if k != "metrics"}, "metrics"),
        (lambda card: [card], "not a checkpoint card"),
        (lambda card: card | {"metrics": 3}, "metrics is not an object"),
        (lambda card: card | {"surprise": 1}, "surprise"),
    ],
)
def test_altered_cards_are_refused(change, message, registry, written):
    path = registry.directory / written[-1] / "card.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CheckpointError, match=message):
        registry.load()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", ".hidden", "card.json", "a/b", ""])
def test_a_card_cannot_name_files_elsewhere(name, registry, written):
    path = registry.directory / written[-1] / "card.json"
    card = replace(read_card(path.parent), files={name: "0" * 64})
    path.write_text(replace(card, version=f"0003-{card.digest[:6]}").dumps())
    with pytest.raises(CheckpointError, match="outside its directory"):
        verify(path.parent)


def test_missing_files_and_versions_say_what_there_is(registry, written):
    (registry.directory / written[0] / "ipa.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        registry.promote(written[0])
    with pytest.raises(CheckpointError, match=written[1]):
        registry.load("0009-abcdef")
    with pytest.raises(CheckpointError, match="no promoted checkpoint"):
        Registry(registry.directory / "empty").load()
    assert registry.latest() == written[-1]


def test_weights_of_another_architecture_are_refused(registry, small_config):
    wider = replace(small_config, attention=((8, 2), (16, 2)))
    card = registry.write({"rpa": new_model(small_config, 0)}, make_card(wider))
    with pytest.raises(CheckpointError, match="another architecture"):
        registry.load(card.version)


def test_widths_of_another_model_are_refused_before_memory_is_taken(registry, small_config, monkeypatch):
    wide = replace(small_config, output=(500, 500))
    card = registry.write({"rpa": new_model(small_config, 0)}, make_card(wide))
    built = []

    def noting(config):
        built.append(build(config))
        return built[-1]

    monkeypatch.setattr(architectures, "build", noting)
    with pytest.raises(CheckpointError, match="another architecture"):
        registry.load(card.version)
    assert built
    assert all(parameter.is_meta for model in built for parameter in model.parameters())


def test_a_card_with_widths_that_are_none_is_refused(registry, small_config):
    odd = {"embedding": ["x"], "attention": [], "output": 3, "n_energies": -1}
    for name, value in odd.items():
        changed = replace(make_card(small_config), model={**small_config.to_dict(), name: value})
        card = registry.write({"rpa": new_model(small_config, 0)}, changed)
        with pytest.raises(CheckpointError):
            registry.load(card.version)


def test_rollback_goes_to_the_parent_until_there_is_none(registry, written):
    assert registry.rollback() == written[1]
    assert registry.latest() == written[1]
    assert registry.rollback() == written[0]
    with pytest.raises(CheckpointError, match="no predecessor"):
        registry.rollback()
    assert registry.latest() == written[0]


def test_latest_is_there_at_every_moment(registry, written):
    missing = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                read_card(registry.directory / "latest")
            except CheckpointError as error:
                missing.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(100):
        registry.promote(written[n % 3])
    done.set()
    reader.join()
    assert missing == []
    names = sorted(path.name for path in registry.directory.iterdir())
    assert names == sorted([*written, "history.jsonl", "latest"])


def test_latest_survives_a_move_of_the_farm(registry, written, tmp_path):
    moved = tmp_path / "moved"
    os.rename(registry.directory, moved)
    assert Registry(moved).load()[1].version == written[-1]


def test_a_checkpoint_of_the_first_format_predicts_as_it_did(rock_salt):
    first = Registry(Path(__file__).parent / "checkpoint_format_1")
    card = verify(first.path())
    assert (card.version, card.n_train, card.rungs) == ("0001-8fa1fd", 12, ("ipa", "rpa"))
    assert card.median_sc == pytest.approx(0.0547, abs=1e-4)
    # Im eps of MgO at 20 eV in 20 steps, by the code that wrote it.
    expected = {
        "ipa": {1: 0.0700983926653862, 5: 0.37167441844940186, 14: 0.03531116992235184, 20: 0.0},
        "rpa": {1: 0.08972686529159546, 5: 0.3940938711166382, 14: 0.034448347985744476, 20: 0.0},
    }
    for rung, values in expected.items():
        model, _ = first.load(rung=rung)
        spectrum = predict_spectra(model, [crystal_graph(rock_salt("Mg", "O", 4.21))])[0]
        for step, value in values.items():
            assert float(spectrum[step]) == pytest.approx(value, abs=1e-6)


def test_a_checkpoint_of_the_first_format_is_copied_as_it_is_and_still_proven(tmp_path):
    first = Registry(Path(__file__).parent / "checkpoint_format_1")
    other = Registry(tmp_path)
    card = pull(other, first.directory)
    assert (other.path() / "card.json").read_bytes() == (first.path() / "card.json").read_bytes()
    text = (other.path() / "card.json").read_text()
    (other.path() / "card.json").write_text(text.replace('"heads": 3', '"heads": 4'))
    with pytest.raises(CheckpointError, match="altered"):
        other.load(card.version)


def test_a_card_that_nobody_measured_says_so(registry, small_config):
    models = {"ipa": new_model(small_config, 0)}
    card = replace(make_card(small_config), n_train=None, metrics={}, base={"imported": {}}, held_out=())
    found = read_card(registry.directory / registry.write(models, card).version)
    assert (found.median_sc, found.n_train, found.imported, found.rungs) == (None, None, True, ("ipa",))
