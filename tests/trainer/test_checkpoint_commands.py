"""`farm checkpoints` and `farm pull` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from farm.errors import CheckpointError, InputError
from trainer import cli
from trainer.architectures import new_model
from trainer.card import Card
from trainer.checkpoint_cli import checkpoints, pull
from trainer.registry import Registry


def make_card(config, parent: str | None = None, median_sc: float = 0.5) -> Card:
    return Card(
        parent=parent,
        created="2026-01-01T00:00:00+00:00",
        n_train=7,
        model=config.to_dict(),
        energy_max_ev=20.0,
        base={"n_materials": 7},
        transfer={},
        dataset={"hash": "d"},
        split={"hash": "s"},
        protocol_hashes=("p",),
        metrics={"rpa": {"median_sc": median_sc}},
        held_out=({"material": "Si", "sc": median_sc},),
        software={"torch": "0"},
    )


@pytest.fixture
def home(tmp_path, small_config, monkeypatch):
    """A farm with two checkpoints, the first of them in use."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    registry = Registry(tmp_path / "home" / "checkpoints")
    parent = None
    for seed in range(2):
        models = {"ipa": new_model(small_config, seed), "rpa": new_model(small_config, seed + 10)}
        parent = registry.write(models, make_card(small_config, parent)).version
    registry.promote(registry.versions()[0])
    return tmp_path / "home"


@pytest.fixture
def good_cif(tmp_path, rock_salt):
    path = tmp_path / "good.cif"
    path.write_text(rock_salt("Mg", "O", 4.21).to_structure().to(fmt="cif"))
    return path


def run(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], obj={"home": None})


def test_list_promote_rollback(home):
    versions = Registry(home / "checkpoints").versions()
    rows = json.loads(run(checkpoints, "list", "--json").stdout)
    assert [(row["version"], row["latest"]) for row in rows] == [(versions[0], True), (versions[1], False)]
    assert rows[1]["parent"] == versions[0]
    assert run(checkpoints, "promote", versions[1]).stdout == f"latest is {versions[1]}\n"
    listed = run(checkpoints, "list").stdout.splitlines()
    assert [line[0] for line in listed] == [" ", "*"]
    assert run(checkpoints, "rollback").stdout == f"latest is {versions[0]}\n"
    assert isinstance(run(checkpoints, "promote", "0042-000000").exception, CheckpointError)


def test_list_names_a_damaged_card_and_goes_on(home):
    registry = Registry(home / "checkpoints")
    (registry.path() / "card.json").write_text("{")
    result = run(checkpoints, "list", "--json")
    assert result.exit_code == 1
    assert [row["version"] for row in json.loads(result.stdout)] == registry.versions()[1:]
    assert registry.versions()[0] in result.stderr


def test_pull_makes_an_empty_farm_able_to_predict(home, tmp_path, good_cif, monkeypatch):
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "laptop"))
    result = run(pull, "--from", home / "checkpoints")
    assert result.exit_code == 0, result.output
    assert "in use" in result.stdout
    assert run(cli.predict, good_cif).exit_code == 0
    newest = Registry(home / "checkpoints").versions()[1]
    result = run(
        pull, tmp_path / "laptop" / "checkpoints", "--from", home / "checkpoints", "--version", newest
    )
    assert f"farm checkpoints promote {newest}" in result.stdout
    assert isinstance(run(pull, "--from", tmp_path / "nowhere").exception, InputError)


def test_loading_the_commands_loads_no_torch():
    code = (
        "import sys, trainer.checkpoint_cli;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'h5py', 'pymatgen', 'fsspec')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", [pull, *checkpoints.commands.values()])
def test_every_command_has_help_with_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f" {command.name}" in result.output.split("farm ", 1)[1]
