"""What the pages tell to type is understood; the files they tell to save do what is said of them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest

from farm.cli.main import main
from farm.protocol import PRESETS, load_protocol
from farm.settings import load_settings
from tests.command_lines import parse
from tests.docs.pages import DOCS, ROOT, files_of, pages, typed

FARM_COMMANDS = sorted(
    {
        line
        for page in pages()
        for line in typed(page.read_text(encoding="utf-8"))
        if line.startswith("farm ")
    }
)
SETTINGS_FILE = "farm-home/farm.toml"


@pytest.mark.parametrize("line", FARM_COMMANDS)
def test_every_farm_command_of_the_site_is_understood(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("page", [page for page in pages() if SETTINGS_FILE in files_of(str(page))])
def test_settings_of_a_page_are_settings(page: Path, tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text(files_of(str(page))[SETTINGS_FILE], encoding="utf-8")
    load_settings({"home": tmp_path}, environment={})


def test_the_protocol_of_the_page_is_one(tmp_path: Path) -> None:
    text = files_of("howto/protocol.md")["converged.toml"]
    (tmp_path / "converged.toml").write_text(text, encoding="utf-8")
    protocol = load_protocol(str(tmp_path / "converged.toml"))
    given = tomllib.loads(text)
    preset = PRESETS[given.pop("preset")]
    assert given.items() <= protocol.to_dict().items()
    assert all(getattr(preset, field) != value for field, value in given.items())


def test_a_misspelt_field_is_told_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typo.toml").write_text("dampingev = 0.1", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["seed", "--protocol", "typo.toml", "--dry-run"])
    assert capsys.readouterr().err.strip() in (DOCS / "howto/protocol.md").read_text(encoding="utf-8")


def test_the_package_of_the_page_joins(tmp_path: Path) -> None:
    files = files_of("howto/engine.md")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    (tmp_path / "farm_lorentz.py").write_text(files["farm_lorentz.py"], encoding="utf-8")
    # What an installer makes of the project file.
    information = tmp_path / f"farm_lorentz-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (information / "entry_points.txt").write_text("\n".join(points))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "FARM_HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        argv = [sys.executable, "-m", "farm.cli.main", *arguments]
        ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        return ran.stdout

    assert run("lorentz", "4.2") == "7.20 eV\n"
    assert '"detail": "needs nothing"' in run("doctor", "--json")


def test_the_engine_of_the_page_is_judged_like_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.history import ResponseDone, StepFailed

    files = files_of("howto/engine.md")
    for name in ("lorentz.py", "lorentz_engine.py"):
        (tmp_path / name).write_text(files[name], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = importlib.import_module("lorentz_engine")
    done, usage = engine.respond(4.2, tmp_path, PRESETS["demo"], threading.Event())
    assert isinstance(done, ResponseDone)
    assert set(done.converged_gmax_mry) <= {4000, 6000}
    assert usage.cpu_s > 0
    (tmp_path / "lorentz.py").write_text("import sys; sys.exit('no gap')", encoding="utf-8")
    failed, _ = engine.respond(4.2, tmp_path, PRESETS["demo"], threading.Event())
    assert isinstance(failed, StepFailed)
    assert "no gap" in failed.reason


def test_every_place_that_knows_an_engine_is_named() -> None:
    text = (DOCS / "howto/engine.md").read_text(encoding="utf-8")
    sources = [path for room in ("farm", "workers") for path in (ROOT / room).rglob("*.py")]
    knowing = {
        str(path.relative_to(ROOT))
        for path in sources
        if "Engine.YAMBO" in path.read_text(encoding="utf-8") and "interchange" not in path.parts
    }
    knowing = {"workers/rerun/" if name.startswith("workers/rerun/") else name for name in knowing}
    assert {name for name in knowing if f"`{name}`" not in text} == set()
