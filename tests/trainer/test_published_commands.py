"""`farm checkpoints import` and `export`, and what the other commands say of weights nobody measured."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from checkpoint_samples import make_card, write_versions
from click.testing import CliRunner
from published_networks import published_graphs, published_network

from farm.errors import CheckpointError, InputError
from farm.overview import current_checkpoint, model_line
from farm.settings import load_settings
from trainer.checkpoints.card import read_card
from trainer.checkpoints.registry import Registry
from trainer.cli import predict as cli
from trainer.cli.checkpoints import checkpoints
from trainer.networks.architectures import new_model
from trainer.networks.ensemble import Ensemble

WIDTHS = [[8, 6], [5, 3], [4, 2], [9, 7]]


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Registry:
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    return Registry(tmp_path / "home" / "checkpoints")


@pytest.fixture
def weights(tmp_path):
    """Files of an IPA and an RPA model, 41 energies."""
    files = {}
    for seed, (rung, layout) in enumerate((("ipa", "a"), ("rpa", "b"))):
        files[rung] = tmp_path / f"{rung}.pt"
        torch.save(published_network(layout, WIDTHS, 41, seed).state_dict(), files[rung])
    return files


@pytest.fixture
def cif(tmp_path, rock_salt):
    path = tmp_path / "MgO.cif"
    path.write_text(rock_salt("Mg", "O", 4.21).to_structure().to(fmt="cif"))
    return path


def run(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], obj={"home": None})


def test_imported_ipa_weights_predict(registry, weights, cif, rock_salt):
    result = run(checkpoints, "import", "--ipa", weights["ipa"])
    assert result.exit_code == 0, result.output
    version = registry.latest()
    assert result.stdout == f"{version}: IPA, not measured; in use\n"
    document = json.loads(run(cli.predict, cif, "--json").stdout)
    assert (document["rung"], document["checkpoint"]) == ("ipa", version)
    with torch.no_grad():
        network = published_network("a", WIDTHS, 41, 0)
        expected = network(published_graphs([rock_salt("Mg", "O", 4.21)]))[0].clamp(min=0)
    # The file has its coordinates rounded.
    assert torch.allclose(torch.tensor(document["values"]), expected, atol=1e-4 * float(expected.max()))
    refused = run(cli.predict, cif, "--rung", "rpa")
    assert isinstance(refused.exception, CheckpointError)
    assert "holds no RPA model" in str(refused.exception)


def test_the_card_tells_the_files_and_makes_up_nothing(registry, weights):
    run(checkpoints, "import", "--ipa", weights["ipa"], "--rpa", weights["rpa"], "--energy-max", "15")
    card = read_card(registry.path())
    for rung, record in (("ipa", card.base), ("rpa", card.transfer)):
        expected = hashlib.sha256(weights[rung].read_bytes()).hexdigest()
        assert record == {"imported": {"file": f"{rung}.pt", "sha256": expected}}
    assert (card.imported, card.rungs, card.energy_max_ev) == (True, ("ipa", "rpa"), 15.0)
    assert (card.n_train, card.median_sc, card.parent) == (None, None, None)
    assert (card.metrics, card.held_out, card.dataset, card.split) == ({}, (), {}, {})
    assert [entry.event for entry in registry.history().entries] == ["imported", "promoted"]
    assert registry.history().entries[0].origin == "ipa.pt, rpa.pt"


def test_what_nobody_measured_is_told_so_everywhere(registry, weights):
    run(checkpoints, "import", "--rpa", weights["rpa"])
    version = registry.latest()
    checkpoint = current_checkpoint(load_settings())
    assert checkpoint == {"version": version, "trained_on": None, "median_sc": None}
    assert model_line(checkpoint) == f"{version}, imported, not measured"
    (row,) = json.loads(run(checkpoints, "list", "--json").stdout)
    assert (row["n_train"], row["median_sc"]) == (None, None)
    assert "imported  not measured  from none" in run(checkpoints, "list").stdout


def test_an_import_replaces_nothing_and_the_way_back_works(registry, weights, small_config):
    (own,) = write_versions(registry, small_config, 1)
    registry.promote(own)
    result = run(checkpoints, "import", "--ipa", weights["ipa"], "--json")
    document = json.loads(result.stdout)
    assert (document["latest"], document["rungs"]) == (False, ["ipa"])
    assert document["model"]["attention"] == [[5, 3], [4, 2]]
    assert registry.latest() == own
    # The same file is the same version.
    again = json.loads(run(checkpoints, "import", "--ipa", weights["ipa"], "--json").stdout)
    assert again["version"] == document["version"]
    other = json.loads(run(checkpoints, "import", "--rpa", weights["rpa"], "--json").stdout)
    assert registry.versions() == [own, document["version"], other["version"]]
    run(checkpoints, "promote", document["version"])
    assert run(checkpoints, "rollback").stdout == f"latest is {own}\n"


def test_files_that_make_no_version_are_refused(registry, weights, tmp_path):
    torch.save(published_network("a", [[8], [5, 3], [9]], 41).state_dict(), tmp_path / "other.pt")
    torch.save(published_network("a", WIDTHS, 1).state_dict(), tmp_path / "similarity.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    for arguments, message in (
        (("--ipa", weights["ipa"], "--rpa", tmp_path / "other.pt"), "networks of other widths"),
        (("--ipa", tmp_path / "similarity.pt"), "one number a crystal"),
        (("--ipa", tmp_path / "junk.pt"), "no file of weights alone"),
        (("--ipa", tmp_path / "none.pt"), "No such file"),
    ):
        error = run(checkpoints, "import", *arguments).exception
        assert isinstance(error, CheckpointError)
        assert message in str(error)
    assert isinstance(run(checkpoints, "import").exception, InputError)
    assert not registry.directory.exists()


@pytest.mark.parametrize(
    ("options", "layout", "prefix"),
    [
        ((), "a", ""),
        (("--layout", "b", "--gatnn"), "b", "gatnn."),
    ],
)
def test_what_was_imported_is_exported_bit_for_bit(registry, weights, tmp_path, options, layout, prefix):
    run(checkpoints, "import", "--ipa", weights["ipa"], "--rpa", weights["rpa"])
    for rung, seed in (("ipa", 0), ("rpa", 1)):
        chosen = ("--rung", "ipa") if rung == "ipa" else ()
        result = run(checkpoints, "export", registry.latest(), tmp_path / "out.pt", *chosen, *options)
        assert result.exit_code == 0, result.output
        assert f"{rung.upper()} of {registry.latest()}, layout {layout}" in result.stdout
        state = torch.load(tmp_path / "out.pt", weights_only=True)
        # The seed draws the same weights in both layouts.
        expected = published_network(layout, WIDTHS, 41, seed).state_dict()
        assert list(state) == [prefix + name for name in expected]
        assert all(torch.equal(state[prefix + name], value) for name, value in expected.items())


def test_of_several_members_one_is_exported(registry, small_config, tmp_path):
    members = [new_model(small_config, seed) for seed in (1, 2)]
    version = registry.write({"rpa": Ensemble(members)}, make_card(small_config)).version
    asked = run(checkpoints, "export", version, tmp_path / "out.pt")
    assert "--member 1" in str(asked.exception)
    assert "1 to 2" in str(
        run(checkpoints, "export", version, tmp_path / "out.pt", "--member", 3).exception
    )
    assert run(checkpoints, "export", version, tmp_path / "out.pt", "--member", 2).exit_code == 0
    state = torch.load(tmp_path / "out.pt", weights_only=True)
    assert torch.equal(state["gat1.att"], members[1].state_dict()["gat1.att"])


def test_another_architecture_is_not_exported(registry, tmp_path):
    from trainer.networks.oscillators import OscillatorConfig

    config = OscillatorConfig()
    version = registry.write({"rpa": new_model(config, 0)}, make_card(config)).version
    error = run(checkpoints, "export", version, tmp_path / "out.pt").exception
    assert isinstance(error, CheckpointError)
    assert "oscillators" in str(error)
    assert not (tmp_path / "out.pt").exists()
