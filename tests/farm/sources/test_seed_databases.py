"""`farm seed` from databases, into a real backlog."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase.build import bulk
from ase.db import connect
from optimade_server import OptimadeServer
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from source_samples import rock_salt_cif

from farm.backlog import Backlog
from farm.crystal import Crystal
from farm.job import Engine, Job, JobState
from farm.protocol import PRESETS
from farm.result import Result
from farm.sources import read_source
from farm.sources.optimade import server as server_module
from farm.store import StoreWriter

Run = Callable[..., tuple[int, str, str]]
PAGE = 20


@pytest.fixture(scope="module", name="directory")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OptimadeServer]:
    """The bundled crystals three times: as they are (the first magnetic), in larger cells, stretched."""
    entries = []
    for crystal in read_source(None):
        assert isinstance(crystal, Crystal)
        structure = crystal.to_structure()
        cell = SpacegroupAnalyzer(structure).get_conventional_standard_structure()
        stretched = structure.copy().scale_lattice(1.02 * structure.volume)
        for place, (kind, one) in enumerate((("", structure), ("-cell", cell), ("-stretched", stretched))):
            entries.append((place, {"id": f"{crystal.material_id}{kind}", "structure": one.as_dict()}))
    entries.sort(key=lambda entry: entry[0])
    rows = [{**row, "band_gap": 1.0, "magnetization": 0.0} for _, row in entries]
    rows[0] |= {"magnetization": 3.0, "id": "mc3d-1/magnetic"}
    with OptimadeServer(tmp_path_factory.mktemp("optimade"), rows, most=PAGE) as server:
        yield server


@pytest.fixture
def server(directory: OptimadeServer, monkeypatch: pytest.MonkeyPatch) -> OptimadeServer:
    """The same, nothing wrong with it, and asked again at once."""
    directory.fail({})
    monkeypatch.setattr(server_module, "_FIRST_PAUSE_S", 0.001)
    return directory


def test_a_server_into_the_backlog(run: Run, server: OptimadeServer, backlog: Backlog) -> None:
    server.fail({"2": {"status": 500}, "5": {"drop": 500}})
    flags = ("--source", "optimade", "--provider", "alexandria", "--base-url", server.url)
    flags = (*flags, "--protocol", "demo", "--max-atoms", "4", "--exclude", "Se")
    code, out, err = run("seed", *flags, "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    queued = {row["material"] for row in told["queued"]}
    small = {
        c.material_id
        for c in read_source(None)
        if isinstance(c, Crystal) and c.n_atoms <= 4 and "Se" not in c.elements
    }
    # The larger cells are the same crystals. The magnetic one is queued in its other forms alone.
    assert {name.removesuffix("-stretched").removesuffix("-cell") for name in queued} == small
    assert {view.material_id for view in backlog.jobs()} == queued
    assert any("the same crystal as" in row["reason"] for row in told["skipped"])
    (rejected,) = told["rejected"]
    assert rejected["source"] == f"{server.url}/v1/structures/mc3d-1%2Fmagnetic"
    assert "magnetic" in rejected["reason"]
    assert any("chemical_formula_anonymous" in query for query in server.requests())
    (job,) = (job for job in backlog.ready_jobs(len(queued)) if job.crystal.material_id == "MgO")
    assert job.crystal.properties["database"] == "alexandria"
    assert job.crystal.properties["given_as"].startswith("band_gap_ind = _alexandria_band_gap")
    again = json.loads(run("seed", *flags, "--json")[1])
    assert again["queued"] == []


def test_a_server_that_breaks_off_leaves_what_came_before_and_the_same_command_goes_on(
    run: Run, server: OptimadeServer, backlog: Backlog
) -> None:
    server.fail({str(number): {"status": 503} for number in range(5, 20)})
    flags = ("--source", "optimade", "--base-url", server.url, "--protocol", "demo")
    code, out, err = run("seed", *flags)
    assert (code, out, err.count("\n")) == (1, "", 1)
    n_before = backlog.counts()[JobState.READY]
    assert n_before > 0
    assert (
        f"farm: 127.0.0.1 ({server.url}/v1/structures): HTTP 503, 6 times ({n_before} crystals were queued"
        in err
    )
    server.fail({})
    code, out, err = run("seed", *flags)
    assert (code, err) == (0, "")
    assert f"skipped {n_before}: ready in this farm already" in out
    assert backlog.counts()[JobState.READY] > n_before


def test_a_stop_need_not_wait_for_the_server(
    server: OptimadeServer, redis_url: str, tmp_path: Path, backlog: Backlog
) -> None:
    # Asks for a pause of four minutes, and is granted it.
    server.fail({"4": {"status": 429, "headers": {"retry-after": "240"}}})
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.cli.main", "seed", "--source", "optimade", "--base-url", server.url],
        env={**os.environ, "FARM_REDIS_URL": redis_url, "FARM_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told = process.stderr.readline()
    assert "127.0.0.1: HTTP 429, asked again in 240 s" in told
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    n_queued = backlog.counts()[JobState.READY]
    assert (process.returncode, out) == (130, "")
    assert err == (
        f"farm: stopped. {n_queued} crystals were queued and stay; the same command goes on from there\n"
    )
    # The first page had come.
    assert n_queued > 10


def test_nearly_the_same_structures_are_queued_once_if_asked(
    run: Run, server: OptimadeServer, backlog: Backlog
) -> None:
    flags = ("seed", "--source", "optimade", "--base-url", server.url, "--protocol", "demo", "--dry-run")
    code, out, _ = run(*flags)
    assert code == 0
    assert "the same structure" not in out
    told = json.loads(run(*flags, "--distinct", "--json")[1])
    reasons = {row["material"]: row["reason"] for row in told["skipped"]}
    host = "127-0-0-1"
    assert reasons[f"{host}-MgO-stretched"] == f"the same structure as {host}-MgO"
    assert len(told["queued"]) == sum(isinstance(item, Crystal) for item in read_source(None))
    assert backlog.counts()[JobState.READY] == 0


def test_what_the_store_holds_under_the_protocol_counts_too(
    run: Run, server: OptimadeServer, tmp_path: Path, make_result: Callable[[Job], Result]
) -> None:
    magnesia = next(c for c in read_source(None) if isinstance(c, Crystal) and c.material_id == "MgO")
    protocol = PRESETS["demo"]
    job = Job(
        crystal=magnesia,
        protocol=protocol.to_dict(),
        protocol_hash=protocol.hash,
        engine=Engine.NATIVE,
        predicted_cpu_s=1.0,
    )
    with StoreWriter(tmp_path / "spectra.h5") as writer:
        writer.append_many([make_result(job)])
    flags = (
        "seed",
        "--source",
        "optimade",
        "--base-url",
        server.url,
        "--filter",
        'elements HAS ALL "Mg","O"',
    )

    def reasons(protocol: str) -> dict[str, str]:
        told = json.loads(run(*flags, "--protocol", protocol, "--distinct", "--dry-run", "--json")[1])
        return {row["material"]: row["reason"] for row in told["skipped"]}

    host = "127-0-0-1"
    assert reasons("demo") == {
        f"{host}-MgO": "the same structure as MgO",
        f"{host}-MgO-cell": "the same structure as MgO",
        f"{host}-MgO-stretched": "the same structure as MgO",
    }
    # Under another protocol nothing is held.
    assert set(reasons("paper")) == {f"{host}-MgO-cell", f"{host}-MgO-stretched"}


class Documents:
    """In place of the Materials Project's client: three documents, and no more after ``n_answers``."""

    def __init__(self, n_answers: int = 10) -> None:
        self._n_answers = n_answers
        self.materials = SimpleNamespace(summary=self)

    def search(self, *, fields: list[str], **_: object) -> list[dict[str, object]]:
        self._n_answers -= 1
        if self._n_answers < 0:
            raise ConnectionError("gone")
        crystals = [item for item in islice(read_source(None), 3) if isinstance(item, Crystal)]
        told = [
            {"material_id": f"mp-{n}", "structure": crystal.to_structure(), "band_gap": float(n)}
            for n, crystal in enumerate(crystals)
        ]
        return [{name: one.get(name) for name in fields} for one in told]


def test_the_materials_project_into_the_backlog(
    run: Run, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MP_API_KEY", "not-a-real-one")
    monkeypatch.setattr("farm.cli.seed_sources.find_spec", lambda _: object())
    monkeypatch.setattr("farm.sources.materials_project.open_client", lambda _: Documents())
    code, out, err = run("seed", "--source", "mp", "--min-gap", "0.5", "--protocol", "demo")
    assert (code, err) == (0, "")
    assert "queued 2, skipped 1, rejected 0" in out
    assert {view.material_id for view in backlog.jobs()} == {"mp-1", "mp-2"}
    monkeypatch.setattr("farm.sources.materials_project.open_client", lambda _: Documents(1))
    code, out, err = run("seed", "--source", "mp", "--protocol", "demo")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "the Materials Project does not answer as it should: gone (0 crystals were queued" in err


def test_a_database_of_ase_beside_other_files(run: Run, backlog: Backlog, tmp_path: Path) -> None:
    with connect(tmp_path / "my.db") as database:
        for a in (4.21, 4.22):
            database.write(bulk("MgO", "rocksalt", a=a))
    (tmp_path / "rocksalt.cif").write_text(rock_salt_cif("Ca", "O", a=4.81))
    code, out, _ = run("seed", str(tmp_path), "--protocol", "demo", "--distinct")
    assert code == 0
    assert "queued 2, skipped 1, rejected 0" in out
    assert "skipped 1: the same structure as another" in out
    assert {view.formula for view in backlog.jobs()} == {"MgO", "CaO"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--source", "optimade"), "one provider, and none is named"),
        (("--filter", "nsites<4"), "--provider, --base-url and --filter are for --source optimade"),
        (("--source", "mp", "--provider", "cod"), "are for --source optimade"),
        (("--source", "mp"), "MP_API_KEY"),
        (("--source", "optimade", "--provider", "cod", "x.cif"), "--source optimade reads no files: x.cif"),
        (
            ("--source", "optimade", "--provider", "cod", "--filter", "nsites<"),
            "not an OPTIMADE filter, at its end",
        ),
        (("--source", "optimade", "--base-url", "ftp://x"), "is not an address"),
        (("--source", "aflow"), "'aflow' is not one of"),
    ],
)
def test_a_mistake_in_what_was_typed_is_one_clear_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], words: str
) -> None:
    monkeypatch.delenv("MP_API_KEY", raising=False)
    code, out, err = run("seed", *flags)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "module", "extra"),
    [
        (("--source", "optimade", "--provider", "cod"), "optimade", "'.[optimade]'"),
        (("--source", "mp"), "mp_api", "'.[mp]'"),
    ],
)
def test_a_package_that_is_not_there_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], module: str, extra: str
) -> None:
    monkeypatch.setenv("MP_API_KEY", "not-a-real-one")
    monkeypatch.setattr(
        "farm.cli.seed_sources.find_spec", lambda name: None if name == module else object()
    )
    code, out, err = run("seed", *flags)
    assert (code, out) == (1, "")
    assert f"pip install {extra}" in err


def test_the_help_tells_of_the_sources(run: Run) -> None:
    code, out, _ = run("seed", "--help")
    assert code == 0
    for words in ("OPTIMADE", "MP_API_KEY", "ASE database", "--base-url", "--distinct", "alexandria"):
        assert words in out
