"""`farm import` as it is typed."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from interchange_samples import PROTOCOL, TERMS, changed, computed, entry, same, write, write_protocol

from farm.interchange import reading
from farm.interchange.directory import entry_text
from farm.interchange.published_entry import published_entry_of
from farm.job import Engine, Outcome
from farm.store import StoreWriter, open_store

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def protocol(tmp_path: Path) -> str:
    return str(write_protocol(tmp_path / "protocol.toml"))


@pytest.fixture
def take(run: Run, protocol: str) -> Run:
    """`farm import` on the small energy grid of the samples."""
    return lambda *arguments: run("import", "--protocol", protocol, *map(str, arguments))


def store_of(tmp_path: Path) -> Path:
    return tmp_path / "spectra.h5"


def stored(tmp_path: Path) -> dict[str, Any]:
    """The results of the store by material; every row is read, and its checksum with it."""
    with open_store(store_of(tmp_path)) as store:
        results = [store.result(row.index) for row in store.rows(superseded=True)]
    assert len({(r.crystal.material_id, r.protocol_hash, r.engine) for r in results}) == len(results)
    return {result.crystal.material_id: result for result in results}


def test_a_tree_of_files_in_every_form(take: Run, tmp_path: Path) -> None:
    source = tmp_path / "published"
    samples = [
        entry(n, cell) for n, cell in enumerate(("cubic", "tetragonal", "hexagonal", "orthorhombic") * 3)
    ]
    write(source / "a" / "one.json", samples[0])
    (source / "a" / "b").mkdir()
    (source / "a" / "b" / "two.json.gz").write_bytes(gzip.compress(json.dumps(samples[1]).encode()))
    (source / "three.json.bz2").write_bytes(bz2.compress(json.dumps(samples[2]).encode()))
    write(source / "list.json", samples[3:6])
    write(source / "container.json", {"entries": samples[6:9], "about": "test"})
    (source / "with_mark.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(samples[9]).encode())
    write(tmp_path / "other.json", samples[10])
    (source / "readme.txt").write_text("no entry")
    (source / ".hidden.json").write_text("no entry")
    code, out, err = take(source, tmp_path / "other.json")
    assert (code, err) == (0, "")
    assert out == "imported 11 (11 done), skipped 0, rejected 0\n"
    found = stored(tmp_path)
    for sample in samples[:11]:
        assert same(published_entry_of(found[sample["data"]["mat_id"]]), sample)


def test_again_is_nothing_new(take: Run, tmp_path: Path) -> None:
    for n in range(3):
        write(tmp_path / "in" / f"{n}.json", entry(n))
    assert take(tmp_path / "in")[0] == 0
    with open_store(store_of(tmp_path)) as store:
        before = store.snapshot_hash(), store.n_rows
    code, out, _ = take(tmp_path / "in")
    assert code == 0
    assert out.splitlines() == ["skipped 3: in the store already", "imported 0, skipped 3, rejected 0"]
    with open_store(store_of(tmp_path)) as store:
        assert (store.snapshot_hash(), store.n_rows) == before


def test_metals_and_ipa_alone(take: Run, run: Run, tmp_path: Path) -> None:
    metal = entry(1)
    for name in ("ipa_epsI", "ipa_epsR", "rpa_epsI", "rpa_epsR"):
        metal = changed(metal, f"data.{name}", {"xx": [math.nan] * 101})
    write(tmp_path / "in" / "metal.json", metal)
    write(tmp_path / "in" / "ipa.json", entry(2, has_rpa=False))
    poor = changed(entry(3), "data.rpa_similarity.0", 0.5)
    write(tmp_path / "in" / "poor.json", poor)
    code, out, _ = take(tmp_path / "in")
    assert code == 0
    assert out == "imported 3 (1 done, 1 metal, 1 unconverged), skipped 0, rejected 0\n"
    found = stored(tmp_path)
    assert {name: (r.outcome, len(r.ladder)) for name, r in found.items()} == {
        "agm000000001": (Outcome.METAL, 0),
        "agm000000002": (Outcome.DONE, 1),
        "agm000000003": (Outcome.UNCONVERGED, 2),
    }
    assert run("export", str(tmp_path / "out"))[0] == 0
    assert same(json.loads((tmp_path / "out" / "agm000000001.json").read_text()), metal)


def test_what_is_imported_is_not_computed_again(take: Run, run: Run, tmp_path: Path, protocol: str) -> None:
    write(tmp_path / "in" / "1.json", entry(1))
    assert take(tmp_path / "in")[0] == 0
    source = str(tmp_path / "in" / "1.json")
    seeding = ("seed", source, "--engine", "yambo", "--protocol", protocol, "--dry-run", "--json")
    code, out, _ = run(*seeding)
    assert code == 0
    document = json.loads(out)
    assert document["queued"] == []
    assert document["skipped"] == [{"material": "agm000000001", "reason": "in the store already"}]


BAD: dict[str, tuple[Any, str, str]] = {
    "broken.json": ('{"data": {"mat_id": "x"', "broken JSON", "Get the file again"),
    "empty.json": ("", "the file is empty", "Get the file again"),
    "not_text.json": (b"\xff\xfe\x00\x81", "broken JSON: not a text", "Get the file again"),
    "number.json": (5, "not an object", "Give entries as the published database has them"),
    "list_of_nothing.json": ([], "no entries", "Give an entry or a list of them"),
    "deep.json": ("[" * 5000 + "]" * 5000, "", "Get the file again"),
    "cut.json.gz": (gzip.compress(json.dumps(entry(50)).encode())[:-50], "", "Get the file again"),
    "no_gzip.json.gz": (b"{}", "damaged", "Get the file again"),
    "no_id.json": (
        changed(changed(entry(51), "data.mat_id", ...), "entry_id", None),
        "field data.mat_id is missing",
        "Add the field, or leave the file out",
    ),
    "id_no_text.json": (
        changed(entry(52), "data.mat_id", 7),
        "data.mat_id: 7 is no usable id",
        "Use 1 to 64",
    ),
    "id_a_path.json": (changed(entry(53), "data.mat_id", "../x"), "'../x' is no usable id", "Use 1 to 64"),
    "no_part.json": (changed(entry(54), "data.rpa_epsR", ...), "data.rpa_epsR is missing", "Add the field"),
    "nan_inside.json": (
        changed(entry(55), "data.ipa_epsI.xx.3", math.nan),
        "number 4 is nan",
        "Compute it again",
    ),
    "infinity.json": (
        changed(entry(56), "data.ipa_epsI.xx.3", math.inf),
        "number 4 is inf",
        "Compute it again",
    ),
    "text.json": (
        changed(entry(57), "data.ipa_epsI.xx.3", "1"),
        "number 4 is the text '1'",
        "Write numbers",
    ),
    "element.json": (
        changed(entry(58), "structure.sites.1.species.0.element", "Qq"),
        "'Qq' is no element",
        "Use symbols of elements",
    ),
    "grid.json": (
        entry(59, n_energies=201),
        "has 201 numbers",
        "Get the file again, or say with --protocol",
    ),
    "flat.json": (
        changed(entry(60), "structure.lattice.matrix", [[1, 0, 0], [0, 1, 0], [1, 1, 0]]),
        "field structure: the cell has a volume of 0.000",
        "Give cell vectors in angstrom that span a cell",
    ),
    "broad.json": (
        changed(entry(61), "parameters.rpa_broad", 0.1),
        "rpa_broad is 0.1 eV",
        "Import such files",
    ),
    "coarse.json": (changed(entry(62), "parameters.rpa_kppa", 100), "rpa_kppa is 100", "Say with --kppa N"),
    "other_content.json": (
        changed(entry(1), "data.rpa_epsI.xx.3", 0.25),
        "agm000000001 came before with other content",
        "Keep one of the two",
    ),
}


def test_every_bad_file_is_named_and_the_rest_comes_in(take: Run, tmp_path: Path) -> None:
    source = tmp_path / "in"
    good = [entry(n) for n in range(4)]
    write(source / "a0.json", good[0])
    write(source / "a1.json", good[1])
    write(source / "copy.json", good[1])
    for name, (content, _, _) in BAD.items():
        if isinstance(content, bytes):
            (source / name).write_bytes(content)
        else:
            (source / name).write_text(content if isinstance(content, str) else json.dumps(content))
    # A list with bad ones in it, and one that breaks off.
    write(source / "z_list.json", [good[2], changed(entry(70), "data.ipa_epsI", ...), 5])
    (source / "z_cut.json").write_text(json.dumps([good[3], entry(71)])[:-100])
    os.mkfifo(source / "z_pipe.json")
    closed = tmp_path / "rejected.jsonl"
    code, out, err = take(source, "--rejected", closed, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [row["material"] for row in document["imported"]] == [
        "agm000000000",
        "agm000000001",
        "agm000000002",
    ]
    assert document["skipped"] == [{"material": "agm000000001", "reason": "given twice"}]
    rejected = {row["source"]: row for row in document["rejected"]}
    assert [json.loads(line) for line in closed.read_text().splitlines()] == document["rejected"]
    for name, (_, reason, fix) in BAD.items():
        row = rejected.pop(str(source / name))
        assert reason in row["reason"]
        assert row["fix"].startswith(fix)
    assert (
        rejected.pop(f"{source / 'z_list.json'}, agm000000070")["reason"]
        == "field data.ipa_epsI is missing"
    )
    assert rejected.pop(f"{source / 'z_list.json'}, entry 3")["reason"] == "not an object"
    assert rejected.pop(str(source / "z_pipe.json"))["reason"] == "not a regular file"
    assert "broken JSON" in rejected.pop(str(source / "z_cut.json"))["reason"]
    assert rejected == {}
    assert set(stored(tmp_path)) == {"agm000000000", "agm000000001", "agm000000002"}


def test_nothing_but_refusals_is_a_failure(take: Run, tmp_path: Path) -> None:
    write(tmp_path / "in" / "x.json", changed(entry(1), "parameters.rpa_broad", 0.1))
    code, out, _ = take(tmp_path / "in")
    assert code == 1
    assert "x.json: field parameters.rpa_broad is 0.1 eV" in out
    assert out.endswith("imported 0, skipped 0, rejected 1\n")
    assert not store_of(tmp_path).exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such file or directory"),
        ("empty", "no JSON files in it"),
        ("x.cif", "the format is not known"),
    ],
)
def test_a_path_with_nothing_to_import_says_so(take: Run, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.cif").touch()
    code, out, _ = take(tmp_path / name)
    assert code == 1
    assert f"{name}: {message}" in out


def test_many_refusals_are_counted_by_what_mends_them(take: Run, tmp_path: Path) -> None:
    coarse = [changed(entry(n), "parameters.rpa_kppa", 432) for n in range(25)]
    write(tmp_path / "x.json", [*coarse, changed(entry(30), "data.ipa_epsI", ...), entry(31)])
    code, out, _ = take(tmp_path / "x.json")
    assert code == 0
    assert "... and 6 more rejected" in out
    assert "rejected 25: Say with --kppa N" in out
    assert "rejected 1: Add the field" in out
    code, out, _ = take(tmp_path / "x.json", "--kppa", "500")
    assert "imported 25 (25 done)" in out


def test_a_dry_run_says_the_same_and_stores_nothing(take: Run, tmp_path: Path) -> None:
    write(tmp_path / "x.json", [entry(1), entry(2), entry(1), changed(entry(3), "data.nsites", 9)])
    code, out, _ = take(tmp_path / "x.json", "--dry-run", "--json")
    dry = json.loads(out)
    assert code == 0
    assert list(tmp_path.glob("spectra.h5*")) == []
    assert json.loads(take(tmp_path / "x.json", "--json")[1]) == dry
    assert dry["protocol_hash"] == TERMS.with_fields[1]
    assert dry["imported"][0] == {
        "material": "agm000000001",
        "formula": "MgO",
        "protocol_hash": TERMS.with_fields[1],
        "engine": "yambo",
        "outcome": "done",
    }
    again = json.loads(take(tmp_path / "x.json", "--dry-run", "--json")[1])
    assert again["imported"] == []
    assert [row["reason"] for row in again["skipped"]] == ["in the store already"] * 3


def test_other_content_under_an_id_of_the_store_is_refused(take: Run, tmp_path: Path) -> None:
    write(tmp_path / "x.json", entry(1))
    take(tmp_path / "x.json")
    write(tmp_path / "x.json", [changed(entry(1), "data.e_above_hull", 0.1), entry(2)])
    code, out, _ = take(tmp_path / "x.json")
    assert code == 0
    assert "field data.mat_id: agm000000001 is in the store with other content" in out
    assert "imported 1 (1 done), skipped 0, rejected 1" in out


def test_an_unconverged_result_is_answered_by_a_converged_one(take: Run, tmp_path: Path) -> None:
    poor = changed(entry(1), "data.rpa_similarity.0", 0.5)
    take(write(tmp_path / "poor.json", poor))
    assert take(tmp_path / "poor.json")[1].endswith("imported 0, skipped 1, rejected 0\n")
    assert "imported 1 (1 done)" in take(write(tmp_path / "good.json", entry(1)))[1]
    with open_store(store_of(tmp_path)) as store:
        assert [row.outcome for row in store.rows()] == [Outcome.DONE]
    assert "is in the store with other content" in take(tmp_path / "poor.json")[1]


def test_a_failure_here_is_no_more_than_what_is_held(take: Run, tmp_path: Path) -> None:
    poor = changed(entry(1), "data.rpa_similarity.0", 0.5)
    take(write(tmp_path / "poor.json", poor))
    worse = computed(1, outcome=Outcome.FAILED, reason="no", ladder=())
    held = stored(tmp_path)["agm000000001"]
    worse = replace(
        worse,
        crystal=held.crystal,
        protocol=held.protocol,
        protocol_hash=held.protocol_hash,
        engine=Engine.YAMBO,
    )
    (tmp_path / "worse.json").write_bytes(entry_text(worse))
    assert "imported 0, skipped 1, rejected 0" in take(tmp_path / "worse.json")[1]


def test_large_files_are_read_an_entry_at_a_time(
    take: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_BYTES_AT_ONCE", 20_000)
    samples = [entry(n) for n in range(150)]
    write(tmp_path / "in" / "a.json", {"entries": [*samples[:100], 5, *samples[100:]]})
    write(tmp_path / "in" / "b.json", entry(200))
    text = json.dumps(samples[3:5] + [entry(n) for n in range(300, 304)])
    (tmp_path / "in" / "c.json").write_text(text[:-5000])
    code, out, _ = take(tmp_path / "in")
    assert code == 0
    assert "imported 154 (154 done), skipped 2, rejected 2" in out
    assert "a.json, entry 101: not an object" in out
    assert "c.json, after entry 5: broken JSON" in out
    assert len(stored(tmp_path)) == 154


def test_processes_change_nothing(take: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.processes.BATCH", 5)
    for n in range(40):
        write(tmp_path / "in" / f"{n:02d}.json", entry(n) if n % 7 else changed(entry(n), "data", ...))
    one = json.loads(take(tmp_path / "in", "--json", "--dry-run", "--processes", "1")[1])
    two = json.loads(take(tmp_path / "in", "--json", "--processes", "2")[1])
    assert one == two
    assert len(one["imported"]) == 34


def test_a_running_writer_is_one_clear_error(take: Run, tmp_path: Path) -> None:
    write(tmp_path / "x.json", entry(1))
    with StoreWriter(store_of(tmp_path)):
        code, out, err = take(tmp_path / "x.json")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "is writing to this store" in err


def test_a_store_on_other_energies_names_each(take: Run, run: Run, tmp_path: Path) -> None:
    take(write(tmp_path / "x.json", entry(1)))
    write(tmp_path / "y.json", [entry(2, n_energies=51), entry(3, n_energies=51)])
    coarse = write_protocol(tmp_path / "coarse.toml", n_energies=51)
    code, out, _ = run("import", str(tmp_path / "y.json"), "--protocol", str(coarse))
    assert code == 1
    assert out.count("Use one energy grid a farm") == 2
    assert "imported 0, skipped 0, rejected 2" in out


def test_what_a_farm_exported_is_taken_back(take: Run, run: Run, tmp_path: Path) -> None:
    results = [
        computed(1),
        computed(2, "tetragonal"),
        computed(3, outcome=Outcome.METAL, reason="no gap", ladder=()),
        computed(4, outcome=Outcome.FAILED, reason="no", diagnosis="disk_full", ladder=()),
    ]
    with StoreWriter(store_of(tmp_path)) as writer:
        writer.append_many(results)
    take(write(tmp_path / "x.json", entry(9)))
    out = tmp_path / "out"
    assert run("export", str(out))[0] == 0
    assert "imported 0, skipped 5, rejected 0" in take(out)[1]
    code, text, _ = run("--home", str(tmp_path / "other"), "import", str(out), "--protocol", "demo")
    # The published one among them is not on the energies of this protocol.
    assert code == 0
    assert text.endswith("imported 4 (2 done, 1 metal, 1 failed), skipped 0, rejected 1\n")
    with open_store(tmp_path / "other" / "spectra.h5") as store:
        found = {row.material_id: store.result(row.index) for row in store.rows()}
    for result in results:
        ends = (result.ladder[0], result.ladder[-1]) if result.ladder else ()
        assert found[result.crystal.material_id].pack() == replace(result, ladder=ends).pack()
    assert run("--home", str(tmp_path / "other"), "export", str(tmp_path / "out2"))[0] == 0
    for result in results:
        name = f"{result.crystal.material_id}.json"
        assert (tmp_path / "out2" / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.parametrize("arguments", [(), ("x.json", "--kppa", "0"), ("x.json", "--protocol", "mine")])
def test_a_mistake_in_what_was_typed(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run("import", *arguments)
    assert (code, out) == (2, "")
    assert err


def test_a_grid_that_is_converged_is_refused(run: Run, tmp_path: Path) -> None:
    path = write_protocol(tmp_path / "p.toml", kgrid="converged")
    code, _, err = run("import", "x.json", "--protocol", str(path))
    assert code == 2
    assert "kgrid" in err
    assert PROTOCOL.kgrid == "published"
