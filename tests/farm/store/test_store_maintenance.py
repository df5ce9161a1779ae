"""`farm store`: facts, verifying, repairing, compacting, snapshots; on sound stores and on others."""

import json
import subprocess
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from store_samples import NOTHING_NEW, append_between, damage_chunk, make_older, make_result

from farm.errors import StoreError, StoreLockedError
from farm.job import Outcome
from farm.rung import Rung
from farm.store import StoreWriter, maintenance, open_store
from farm.store.layout import LIBRARY_BOUNDS
from farm.store.ledger import salvage
from farm.store.spool import spool_of

FAILED = Outcome.FAILED


@pytest.fixture
def path(settings):
    settings.home.mkdir(parents=True, exist_ok=True)
    return settings.store_path


@pytest.fixture
def retried(path):
    """Five materials, one of which failed first."""
    with StoreWriter(path) as writer:
        writer.append(make_result(1, n_steps=0, outcome=FAILED))
        for number in range(5):
            writer.append(make_result(number, n_steps=1 + number % 4))
    return path


def contents(path) -> dict[str, bytes]:
    with open_store(path) as store:
        return {row.material_id: store.result(row.index).pack() for row in store.rows()}


def test_facts_are_told_without_reading_spectra(run, retried):
    code, out, _ = run("store", "info", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["n_rows"], told["n_current"], told["n_materials"]) == (6, 5, 5)
    assert (told["layout_version"], told["packed"]) == (4, False)
    assert told["size_bytes"] == retried.stat().st_size
    assert told["datasets_bytes"]["ipa/eps_real"] > 0
    assert sum(told["datasets_bytes"].values()) <= told["size_bytes"]
    code, out, _ = run("store", "info")
    assert "5 materials, 5 calculations, 1 more that a retry has replaced" in out


@pytest.mark.usefixtures("retried")
def test_a_sound_store_is_verified(run):
    code, out, _ = run("store", "verify")
    assert (code, "6 rows, all sound" in out) == (0, True)
    code, out, _ = run("store", "verify", "--json")
    assert json.loads(out)["sound"] is True


def test_a_store_is_verified_while_it_is_written(retried):
    with StoreWriter(retried) as writer:
        writer.append(make_result(9))
        # HDF5 does not let one process have it open in both ways: another one looks.
        command = [sys.executable, "-m", "farm.cli.main", "store", "verify", str(retried), "--json"]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (told["sound"], told["n_rows"]) == (True, 7)


def test_damage_is_named_and_repaired(run, retried):
    before = contents(retried)
    damage_chunk(retried, "ipa/eps_real", row=3)
    code, out, _ = run("store", "verify")
    assert code == 1
    assert "6 rows, 1 damaged" in out
    assert "crystal-2, row 3" in out
    for command in (("snapshot", str(retried.with_name("copy.h5"))), ("compact",)):
        code, _, err = run("store", *command)
        assert (code, "1 rows are damaged" in err, "farm store repair" in err) == (1, True, True)
    assert sorted(p.name for p in retried.parent.glob("*.h5*") if p.is_file()) == [
        "spectra.h5",
        "spectra.h5.ledger",
        "spectra.h5.lock",
    ]
    code, out, _ = run("store", "repair", "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["lost"]) == (0, 5, ["crystal-2"])
    assert told["old_file"] == str(retried.with_name("spectra.h5.damaged"))
    del before["crystal-2"]
    assert contents(retried) == before
    assert run("store", "verify")[0] == 0


def test_what_waits_in_the_spool_is_taken_in_by_a_repair(run, retried):
    waiting = spool_of(retried) / "1.result"
    waiting.write_bytes(make_result(8).pack())
    assert json.loads(run("store", "info", "--json")[1])["n_waiting"] == 1
    code, out, _ = run("store", "repair")
    assert (code, "6 rows saved, 1 taken from the spool, 0 lost" in out) == (0, True)
    assert "crystal-8" in contents(retried)


def test_a_row_that_names_a_wrong_predecessor_is_found_and_set_right(run, retried):
    with h5py.File(retried, "r+", libver=LIBRARY_BOUNDS) as file:
        row = file["rows"][5:6]
        row["replaces"] = 0
        file["rows"][5:6] = row
    code, out, _ = run("store", "verify")
    assert (code, "1 rows name a wrong one" in out) == (1, True)
    run("store", "repair")
    assert run("store", "verify")[0] == 0
    assert len(contents(retried)) == 5


def test_compacting_drops_what_was_replaced_and_nothing_else(run, retried):
    before = contents(retried)
    code, out, _ = run("store", "compact", "--json")
    told = json.loads(out)
    assert (code, told["n_rows"], told["n_dropped"]) == (0, 5, 1)
    assert told["after_bytes"] == retried.stat().st_size
    assert contents(retried) == before
    assert fill(retried, make_result(1, n_steps=2), make_result(20)) == [False, True]
    assert run("store", "verify")[0] == 0


def fill(path, *results) -> list[bool]:
    with StoreWriter(path) as writer:
        return [writer.append(result) for result in results]


def test_packed_and_plain_are_the_same_store(run, retried):
    before = contents(retried)
    with open_store(retried) as store:
        content, spectra = store.snapshot_hash(), store.eps_imag(Rung.RPA, [2, 3])
    assert run("store", "compact", "--packed")[0] == 0
    with open_store(retried) as store:
        assert store.snapshot_hash() == content
        indices = [store.row(f"crystal-{number}").index for number in (1, 2)]
        assert np.array_equal(store.eps_imag(Rung.RPA, indices), spectra)
    with h5py.File(retried) as file:
        assert file["rpa/eps_imag"].dtype == np.int32
    # It stays packed: for who appends, after a repair, and in a snapshot.
    assert fill(retried, make_result(30, n_steps=4)) == [True]
    run("store", "repair")
    run("store", "snapshot", str(retried.with_name("copy.h5")))
    for path in (retried, retried.with_name("copy.h5")):
        assert maintenance.facts(path).packed
        assert contents(path) == before | {"crystal-30": make_result(30, n_steps=4).pack()}
    assert run("store", "compact", "--plain")[0] == 0
    assert not maintenance.facts(retried).packed
    assert contents(retried) == before | {"crystal-30": make_result(30, n_steps=4).pack()}


def test_a_snapshot_is_a_store_and_takes_the_place_of_an_older_one(run, retried, tmp_path):
    target = tmp_path / "backup" / "spectra.h5"
    code, out, _ = run("store", "snapshot", str(target), "--json")
    assert (code, json.loads(out)["rows"]) == (0, 6)
    assert contents(target) == contents(retried)
    append_between(str(retried), 40, 42)
    assert run("store", "snapshot", str(target))[0] == 0
    assert contents(target) == contents(retried)
    assert [p.name for p in target.parent.iterdir()] == ["spectra.h5"]
    # Closed in order: any HDF5 tool may open it, and a writer go on with it.
    with h5py.File(target, "r") as file:
        assert file["committed"][0] == 8
    assert fill(target, make_result(50)) == [True]


def test_a_snapshot_replaces_nothing_but_a_snapshot(run, retried, tmp_path):
    other = tmp_path / "thesis.txt"
    other.write_text("years of work", encoding="utf-8")
    for target, told in ((other, "not a store"), (retried, "is the store itself")):
        code, _, err = run("store", "snapshot", str(target))
        assert (code, told in err) == (1, True)
    assert other.read_text(encoding="utf-8") == "years of work"


def test_nothing_is_rewritten_under_a_writer(retried):
    with StoreWriter(retried):
        for action in (maintenance.compact, maintenance.repair):
            with pytest.raises(StoreLockedError, match="is writing to this store"):
                action(retried)


def test_a_full_disk_is_told_before_it_is_full(retried, monkeypatch):
    monkeypatch.setattr(maintenance, "free_disk_bytes", lambda _: 1000)
    for action in (maintenance.compact, maintenance.repair):
        with pytest.raises(StoreError, match=r"0\.00 GB are free"):
            action(retried)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("command", ["info", "verify", "repair", "compact"])
def test_without_a_store_all_say_so(run, command):
    code, _, err = run("store", command)
    assert (code, "there is no store yet" in err) == (1, True)


def test_a_file_that_is_cut_off_says_so_and_how_much_is_left(run, retried):
    size = retried.stat().st_size
    with open(retried, "r+b") as file:
        file.truncate(size - 100)
    code, out, err = run("store", "verify")
    assert code == 1
    assert "cut off" in out + err
    code, out, _ = run("store", "repair", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["rows"] + len(told["lost"]) == 6
    assert told["rows"] >= 5
    assert run("store", "verify")[0] == 0


def store_check(run) -> dict:
    checks = json.loads(run("doctor", "--json")[1])
    return next(check for check in checks if check["name"] == "store")


def test_doctor_tells_of_the_store(run, path):
    assert (store_check(run)["ok"], "no results yet" in store_check(run)["detail"]) == (True, True)
    fill(path, make_result(1, **NOTHING_NEW), make_result(2, **NOTHING_NEW))
    assert store_check(run)["detail"].startswith("2 materials, 0.1 MB")
    (spool_of(path) / "1.unreadable").write_bytes(b"?")
    told = store_check(run)
    assert (told["ok"], told["required"], "1 files in its spool" in told["detail"]) == (False, False, True)
    (spool_of(path) / "1.unreadable").unlink()
    make_older(path, 3)
    assert "layout 3, the next writer makes 4 of it" in store_check(run)["detail"]
    path.write_bytes(b"no HDF5")
    told = store_check(run)
    assert (told["ok"], told["fix"]) == (False, "`farm store verify`, then `repair`")


def test_a_file_that_hdf5_cannot_open_is_repaired_by_its_ledger(run, path):
    fill(path, *(make_result(number, n_steps=1 + number % 4) for number in range(8)))
    before = contents(path)
    with open(path, "r+b") as file:
        file.write(bytes(4096))  # the superblock, and what lies behind it
    code, _, err = run("store", "verify")
    assert (code, "not a store that can be read" in err) == (1, True)
    code, out, _ = run("store", "repair", "--json")
    told = json.loads(out)
    assert (code, told["rows"], told["lost"]) == (0, 8, [])
    assert contents(path) == before


def test_a_ledger_that_the_disk_cuts_short_is_an_error_and_made_good(path, monkeypatch):
    fill(path, make_result(0))
    with StoreWriter(path) as writer:
        handle = writer._ledger._handle
        short = SimpleNamespace(
            write=lambda data: handle.write(data[:100]), fileno=handle.fileno, close=handle.close
        )
        monkeypatch.setattr(writer._ledger, "_handle", short)
        with pytest.raises(StoreError, match="no space is left for the ledger"):
            writer.append(make_result(1))
    assert fill(path, make_result(2)) == [True]
    assert sorted(contents(path)) == ["crystal-0", "crystal-1", "crystal-2"]
    assert [record is not None for record in salvage(path).records] == [True] * 3
