"""`farm checkpoints` and `farm pull` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from checkpoint_samples import serving, write_versions
from click.testing import CliRunner

from farm.errors import CheckpointError, InputError
from trainer.checkpoints.registry import Registry
from trainer.cli import predict as cli
from trainer.cli.checkpoints import checkpoints, pull


@pytest.fixture
def home(tmp_path, small_config, monkeypatch):
    """A farm with two checkpoints, the first of them in use."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    registry = Registry(tmp_path / "home" / "checkpoints")
    write_versions(registry, small_config, 2)
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
    assert [line.split("  from ")[1] for line in listed] == ["none", versions[0]]
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


def test_pull_from_a_web_server_prints_one_document(home, tmp_path):
    with serving(home / "checkpoints") as (url, _):
        result = run(pull, tmp_path / "laptop", "--from", url, "--json")
    version = Registry(home / "checkpoints").latest()
    assert json.loads(result.stdout) == {
        "version": version,
        "latest": True,
        "parent": None,
        "created": "2026-01-01T00:00:00+00:00",
        "n_train": 7,
        "median_sc": 0.5,
        "directory": str(tmp_path / "laptop" / version),
    }


def test_a_pull_that_fails_is_one_line_without_a_traceback(home, tmp_path):
    with serving(home / "checkpoints") as (url, _):
        command = [
            sys.executable,
            "-m",
            "farm.cli.main",
            "pull",
            str(tmp_path / "x"),
            "--from",
            f"{url}/no",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"farm: {url}/no: no checkpoint there")
    assert ended.stderr.count("\n") == 1


def test_push_makes_a_place_to_pull_from(home, tmp_path):
    first, last = Registry(home / "checkpoints").versions()
    there = tmp_path / "www"
    assert json.loads(run(checkpoints, "push", there, "--json").stdout)["version"] == first
    assert "the latest there" not in run(checkpoints, "push", there, last, "--keep-latest").stdout
    assert (Registry(there).versions(), Registry(there).latest()) == ([first, last], first)
    assert "the latest there" in run(checkpoints, "push", there, last).stdout
    assert Registry(there).latest() == last


def test_history_tells_what_happened(home):
    first, last = Registry(home / "checkpoints").versions()
    Registry(home / "checkpoints").record_refusal(last, reason="not better", median_sc=0.25, before=None)
    rows = json.loads(run(checkpoints, "history", "--json").stdout)
    assert [(row["event"], row["version"], row["from"]) for row in rows] == [
        ("promoted", first, None),
        ("refused", last, first),
    ]
    lines = run(checkpoints, "history").stdout.splitlines()
    assert lines[1].endswith(
        f"refused      {last}  from {first}  not better (median_sc 0.25, before unknown)"
    )
    (home / "checkpoints" / "history.jsonl").write_text("{\n")
    result = run(checkpoints, "history")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "1 lines of the history cannot be read" in result.stderr


def test_loading_the_commands_loads_no_torch():
    code = (
        "import sys, trainer.cli.checkpoints;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'h5py', 'pymatgen', 'fsspec')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", [pull, *checkpoints.commands.values()])
def test_every_command_has_help_with_examples(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f" {command.name}" in result.output.split("farm ", 1)[1]
