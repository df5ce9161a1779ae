"""What a command writes never destroys what it reads, and any terminal can show what it prints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.backlog import Backlog
from farm.cli.main import main
from farm.job import Job
from farm.result import Result
from farm.settings import Settings
from farm.sources import read_simple_cif
from farm.store import StoreWriter

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def store(settings: Settings, make_job: MakeJob, make_result: MakeResult) -> Path:
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("periclase")))
    return settings.store_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "{}", "--format", "npz"),
        ("export", "{}", "--format", "parquet"),
        ("report", "--html", "{}"),
        ("seed", "--dry-run", "--rejected", "{}"),
        ("import", "nowhere", "--dry-run", "--rejected", "{}"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_the_store_is_written_over_by_nothing(run: Run, store: Path, arguments: tuple[str, ...]) -> None:
    before = store.read_bytes()
    code, out, err = run(*(each.format(store) for each in arguments))
    assert (code, out, err) == (2, "", f"farm: {store} is the store itself. Give another name\n")
    assert store.read_bytes() == before


@pytest.mark.parametrize("command", ["seed", "import"])
@pytest.mark.parametrize("source", ["in", "in/mine.json", "link"])
def test_rejections_are_not_written_over_what_is_read(
    run: Run, tmp_path: Path, command: str, source: str
) -> None:
    mine = tmp_path / "in" / "mine.json"
    mine.parent.mkdir()
    mine.write_text("{}")
    (tmp_path / "link").symlink_to(mine.parent)
    code, out, err = run(command, str(tmp_path / source), "--dry-run", "--rejected", str(mine))
    assert (code, out) == (2, "")
    assert f"{mine} would be written over what is read" in err
    assert mine.read_text() == "{}"
    beside = mine.with_name("rejected.jsonl")
    assert run(command, str(tmp_path / source), "--dry-run", "--rejected", str(beside))[0] == 1
    assert str(mine.name) in json.loads(beside.read_text())["source"]


@pytest.mark.usefixtures("store")
def test_an_export_replaces_no_pipe(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    code, out, err = run("export", str(pipe))
    assert (code, out, err) == (1, "", f"farm: {pipe}: not a regular file. Choose another name\n")
    assert pipe.is_fifo()


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("arguments", [("show", "MgO"), ("predict", "x.cif")], ids=lambda words: words[0])
def test_a_figure_has_the_name_that_was_asked_for(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = run(*arguments, "--plot", str(tmp_path / "figure"))
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'figure'} tells no format. Name a .png, .pdf or .svg file" in err
    assert not list(tmp_path.glob("figure*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "base", "--lr", "nan"),
        ("train", "base", "--weight-decay", "inf"),
        ("response", "x.save", "--threshold", "nan"),
        ("response", "x.save", "--energy-max-ev", "inf"),
        ("cancel", "--max-cpu-s", "nan"),
    ],
    ids=" ".join,
)
def test_what_is_no_number_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert f"Invalid value for '{arguments[-2]}': {arguments[-1]} is not a finite number" in err


def test_the_threads_of_the_solver_are_set_before_numpy_is_loaded() -> None:
    code = "import sys, workers.cli.response; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_doctor_goes_on_where_home_cannot_be(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("FARM_REDIS_URL")
    code, out, err = run("--home", str(tmp_path / "file"), "doctor", "--json")
    assert (code, err) == (1, "")
    checks = {check["name"]: check for check in json.loads(out)}
    assert str(tmp_path / "file") in checks["home"]["detail"]
    assert "--home DIR" in checks["home"]["fix"]
    assert {"store", "pw.x"} <= set(checks)


def test_predict_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.cif")
    assert read_simple_cif(tmp_path / "x.cif") is None


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_terminal_cannot_show_is_written_as_its_code(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    with pytest.raises(SystemExit):
        main(["seed", "--dry-run", "n\udcffwhere-\u00c5.cif"])
    sys.stdout.flush()
    shown = "\u00c5" if encoding == "utf-8" else "\\xc5"
    assert f"rejected n\\udcffwhere-{shown}.cif: no such file" in written.getvalue().decode()


def test_a_file_whose_name_is_no_text_is_queued(
    run: Run, backlog: Backlog, tmp_path: Path, make_job: MakeJob
) -> None:
    source = tmp_path / "mgo\udcff.json"
    source.write_text(json.dumps(make_job("periclase").crystal.to_structure().as_dict()))
    code, _, err = run("seed", str(source), "--protocol", "demo")
    assert (code, err) == (0, "")
    (job,) = backlog.ready_jobs(1)
    assert job.crystal.source == f"{tmp_path}/mgo\\udcff.json, entry 1"


def test_a_full_disk_is_told_with_the_file(run: Run) -> None:
    code, out, err = run("seed", "nowhere.cif", "--dry-run", "--rejected", "/dev/full")
    assert (code, out, err) == (1, "", "farm: /dev/full: No space left on device\n")
