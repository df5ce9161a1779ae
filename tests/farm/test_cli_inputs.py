"""``farm show --inputs``: what it says, and one line where nothing can be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from farm.backlog import Backlog
from farm.job import Job, Outcome
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]

PARAMETERS = {"ecutwfc_ry": 40, "ground_state_kgrid": [4, 4, 4], "ground_state_runs": 1}


@pytest.fixture
def stored(settings: Settings, make_job: MakeJob, make_result: MakeResult) -> Result:
    """A store with one result of our solver, of a version that kept no steps."""
    result = make_result(make_job("periclase"))
    result = replace(result, parameters=PARAMETERS, programs={"farm": "0.0.1", "pw.x": "7.2"})
    with StoreWriter(settings.store_path) as writer:
        writer.append(result)
    return result


@pytest.mark.usefixtures("stored")
def test_inputs_are_written_and_named(run: Run, tmp_path: Path) -> None:
    code, out, err = run("show", "MgO", "--inputs", str(tmp_path / "MgO"))
    assert (code, err) == (0, "")
    assert "01-scf-40Ry-4x4x4" in out
    assert "run.sh runs them in this order" in out
    assert "note Only the ground state that the result rests on is recorded" in " ".join(out.split())
    written = {path.name for path in (tmp_path / "MgO").iterdir()}
    assert {"01-scf-40Ry-4x4x4", "02-potential", "03-spectra", "pseudo", "README.txt", "run.sh"} == written
    text = " ".join((tmp_path / "MgO" / "README.txt").read_text().split())
    assert "The result is of farm 0.0.1, these files are of farm" in text


@pytest.mark.usefixtures("stored")
def test_the_document_names_every_file(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("show", "periclase", "--inputs", str(tmp_path / "MgO"), "--json")
    document = json.loads(out)
    assert code == 0
    assert document["steps"] == ["01-scf-40Ry-4x4x4", "02-potential", "03-spectra"]
    on_disk = [path for path in (tmp_path / "MgO").rglob("*") if path.is_file()]
    assert sorted(document["files"]) == sorted(str(p.relative_to(tmp_path / "MgO")) for p in on_disk)


@pytest.mark.usefixtures("stored")
def test_what_cannot_be_written_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, new = tmp_path / "full", tmp_path / "new"
    full.mkdir()
    (full / "mine").write_text("mine")
    code, out, err = run("show", "MgO", "--inputs", str(full))
    assert (code, out) == (2, "")
    assert err == (
        f"farm: {full} is not empty: nothing was written. Name a directory that is new or empty\n"
    )
    assert [path.name for path in full.iterdir()] == ["mine"]
    code, _, err = run("show", "MgO", "--inputs", str(new), "--bands")
    assert code == 2
    assert "--inputs writes inputs alone" in err
    monkeypatch.setattr("farm.cli.show_inputs.entry_points", lambda **_: [])
    code, _, err = run("show", "MgO", "--inputs", str(new))
    assert (code, "is installed" in err) == (1, True)
    assert not new.exists()


def test_a_queued_material_has_none_yet(
    run: Run, backlog: Backlog, make_job: MakeJob, tmp_path: Path
) -> None:
    backlog.enqueue([make_job("periclase")])
    code, _, err = run("show", "MgO", "--inputs", str(tmp_path / "new"))
    assert code == 2
    assert err == "farm: periclase is ready: it has no inputs of runs yet\n"


def test_inputs_of_runs_are_no_part_of_the_screen(
    run: Run, settings: Settings, make_job: MakeJob, make_result: MakeResult
) -> None:
    runs = [{"step": {"kind": "ScfStep"}, "inputs": [{"file": "pw-1.in"}]}]
    result = make_result(make_job("periclase"), Outcome.FAILED, "it failed")
    with StoreWriter(settings.store_path) as writer:
        writer.append(replace(result, parameters=PARAMETERS | {"runs": runs}))
    _, out, _ = run("show", "MgO")
    assert "ground_state_runs 1" in out
    assert "pw-1.in" not in out
    _, out, _ = run("show", "MgO", "--json")
    assert json.loads(out)["parameters"]["runs"] == runs


def test_the_writer_is_asked_by_its_entry_point(
    run: Run, stored: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []

    def write(result: Result, directory: Path) -> dict[str, object]:
        asked.append((result.job_id, directory))
        return {
            "directory": str(directory),
            "files": ["README.txt"],
            "steps": [],
            "missing_pseudopotentials": ["Mg.upf"],
            "notes": [],
        }

    point = SimpleNamespace(load=lambda: write)
    monkeypatch.setattr("farm.cli.show_inputs.entry_points", lambda **_: [point])
    code, out, _ = run("show", "MgO", "--inputs", str(tmp_path / "new"))
    assert (code, asked) == (0, [(stored.job_id, tmp_path / "new")])
    assert "nothing was run: README.txt says why" in out
    assert "not here Mg.upf: put it into pseudo/" in out
