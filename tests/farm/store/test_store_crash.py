"""What survives: kill -9 of the writer, a disk that refuses, damage, and readers at work meanwhile."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import h5py
import pytest
from store_samples import (
    NOTHING_NEW,
    append_between,
    append_from,
    damage_chunk,
    damage_table,
    fill_until_refused,
    inconsistencies,
    make_older,
    make_result,
    watch,
)

from farm.errors import StoreError
from farm.store import StoreWriter, open_store
from farm.store import writer as writer_module
from farm.store.layout import layout_version
from farm.store.ledger import salvage
from farm.store.opening import open_for_reading
from farm.store.superblock import mark_closed

N_KILLS = 30
N_ACKNOWLEDGED = 5


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["farm.store", "scipy.constants"])
    return context


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spectra.h5"


def drain(connection) -> list[int]:
    received = []
    try:
        while True:
            received.append(connection.recv())
    except (EOFError, ConnectionResetError):
        return received


def kill_at_random(processes, path, first: int, wait_s: float) -> int:
    """Kill a writer ``wait_s`` after it began to open the store; the last number it acknowledged."""
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=append_from, args=(str(path), first, theirs))
    child.start()
    theirs.close()
    assert ours.poll(20)
    time.sleep(wait_s)
    child.kill()
    acknowledged = drain(ours)
    child.join()
    assert child.exitcode == -9
    return max([first - 1, *acknowledged])


@pytest.mark.parametrize("way", ["in place", "by copy"])
def test_kill_9_of_the_writer_loses_and_spoils_nothing(processes, path, way):
    chance = random.Random(20)  # noqa: S311 - reproducible, not secret
    last, first, n_kills = -1, 0, 0
    # On a machine that is busy most are killed before they write.
    while n_kills < N_KILLS or (last < N_ACKNOWLEDGED and n_kills < 10 * N_KILLS):
        n_kills += 1
        if way == "by copy":  # as when the system has started anew since
            path.with_name("spectra.h5.owner").unlink(missing_ok=True)
        last = kill_at_random(processes, path, first, chance.uniform(0.0, 0.25))
        first = last + 1
    with StoreWriter(path) as writer:
        n_rows = writer.n_rows
    # A result killed between commit and acknowledgement is stored too, and appended only once.
    with open_store(path) as store:
        ids = [row.material_id for row in store.rows(superseded=True)]
        assert len(ids) == len(set(ids)) == n_rows
        assert {f"crystal-{i}" for i in range(last + 1)} <= set(ids)
        assert n_rows in (last + 1, last + 2)
        assert last >= N_ACKNOWLEDGED, "the writer was always killed before it wrote"
        for row in store.rows():
            number = int(row.material_id.removeprefix("crystal-"))
            assert store.result(row.index).pack() == make_result(number, n_steps=1 + number % 4).pack()
        assert inconsistencies(store) == []


def test_what_a_killed_writer_left_is_taken_over_without_a_copy(processes, path, caplog):
    caplog.set_level("INFO")
    append_between(str(path), 0, 10)
    inode = path.stat().st_ino
    mark_as_open_for_writing(processes, path, 10)
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(path, "r+")
    with open_store(path) as reader:
        with open(path, "rb") as file:
            assert file.read(12)[11] != 0
        append_elsewhere = processes.Process(target=append_between, args=(str(path), 20, 23))
        append_elsewhere.start()
        append_elsewhere.join()
        assert append_elsewhere.exitcode == 0
        assert path.stat().st_ino == inode
        assert reader.refresh() == 14
        assert reader.result(13).pack() == make_result(22, n_steps=3).pack()
    with StoreWriter(path) as writer:
        assert writer.n_rows == 14
        assert writer.append(make_result(30))
    with h5py.File(path, "r+") as file:
        assert file["committed"][0] == 15
    assert [record is not None for record in salvage(path).records] == [True] * 15


def test_a_reader_sees_a_consistent_store_while_it_is_written(processes, path):
    append_between(str(path), 0, 1)
    ours, theirs = processes.Pipe(duplex=False)
    reader = processes.Process(target=watch, args=(str(path), 150, theirs))
    reader.start()
    assert ours.poll(20)
    assert ours.recv() == "open"
    writer = processes.Process(target=append_between, args=(str(path), 1, 150))
    writer.start()
    assert ours.poll(60)
    sizes, faults = ours.recv()
    reader.join()
    writer.join()
    assert writer.exitcode == 0
    assert faults == []
    assert sizes == sorted(sizes)
    assert sizes[-1] == 150
    assert len(set(sizes)) > 5, "the reader never looked while the writer wrote"


def test_a_reader_survives_the_crash_and_the_recovery(processes, path):
    last = kill_at_random(processes, path, 0, 0.3)
    with open_store(path) as store:
        before = store.n_rows
        assert before >= last + 1
        assert inconsistencies(store) == []
        append = processes.Process(target=append_between, args=(str(path), 5000, 5003))
        append.start()
        append.join()
        assert append.exitcode == 0
        assert store.refresh() >= before + 3
        assert store.row("crystal-5002") is not None
        assert inconsistencies(store) == []


def test_a_disk_that_refuses_is_an_error_and_no_damage(processes, path):
    append_between(str(path), 0, 1)
    limit = path.stat().st_size + 400_000
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=fill_until_refused, args=(str(path), limit, theirs))
    child.start()
    assert ours.poll(30)
    acknowledged, error = ours.recv()
    child.join()
    assert acknowledged > 5
    assert "failed" in error
    assert "space" in error
    with StoreWriter(path) as writer:
        # The refused result was in the spool and is taken in now that there is room.
        assert writer.n_rows == acknowledged + 1
    with open_store(path) as store:
        for number in range(1, acknowledged + 1):
            index = store.row(f"crystal-{number}").index
            assert store.result(index).pack() == make_result(number).pack()


@pytest.mark.parametrize("damaged", ["text", "rpa/eps_real", "ladder/eps_imag", "bands/energies_ev"])
def test_recovery_keeps_sound_rows_and_the_old_file(processes, path, damaged, caplog):
    n_rows = 10
    append_between(str(path), 0, n_rows)
    damage_chunk(path, damaged, row=3)
    mark_as_open_for_writing(processes, path, n_rows)
    with StoreWriter(path) as writer:
        assert writer.n_rows == n_rows
        assert writer.append(make_result(3, n_steps=4))
    assert "1 damaged" in caplog.text
    assert path.with_name("spectra.h5.damaged").exists()
    with open_store(path) as store:
        assert store.counts().materials == n_rows + 1
        for row in store.rows():
            number = int(row.material_id.removeprefix("crystal-"))
            assert store.result(row.index).pack() == make_result(number, n_steps=1 + number % 4).pack()


@pytest.mark.parametrize(
    "damaged", ["rows", "bands/points", "bands/corners", "bands/paths", "ladder/steps"]
)
def test_the_ledger_has_what_the_tables_have_lost(processes, path, damaged, caplog):
    n_rows = 10
    append_between(str(path), 0, n_rows)
    damage_table(path, damaged, row=3)
    mark_as_open_for_writing(processes, path, n_rows)
    with open_store(path) as store, pytest.raises(StoreError, match=r"checksum|damaged|label"):
        store.result(3)
    with StoreWriter(path) as writer:
        assert writer.n_rows == n_rows + 1
    assert "0 damaged" in caplog.text
    with open_store(path) as store:
        assert store.result(3).pack() == make_result(3, n_steps=4).pack()


def test_without_a_ledger_hdf5_reads_what_it_can(processes, path, caplog):
    append_between(str(path), 0, 10)
    damage_table(path, "bands/points", row=3)
    mark_as_open_for_writing(processes, path, 10)
    path.with_name("spectra.h5.ledger").unlink()
    with StoreWriter(path) as writer:
        assert writer.n_rows == 10
    assert "1 damaged" in caplog.text


def test_kill_9_while_an_older_layout_is_copied_loses_nothing(processes, path):
    n_rows, last = 60, 999
    with StoreWriter(path) as writer:
        writer.append_many(make_result(i, n_steps=1 + i % 4, **NOTHING_NEW) for i in range(n_rows))
    make_older(path, 1)
    layouts = []
    # From before the copy begins to after its end.
    for i in range(10):
        last = kill_at_random(processes, path, last + 1, 0.05 * i)
        with open_for_reading(path) as file:
            layouts.append(layout_version(file))
    assert 1 in layouts, "the copy was always done before the writer was killed"
    append_between(str(path), 0, 1)
    with open_store(path) as store:
        rows = list(store.rows(superseded=True))
        assert [row.material_id for row in rows[:n_rows]] == [f"crystal-{i}" for i in range(n_rows)]
        for row in rows:
            number = int(row.material_id.removeprefix("crystal-"))
            expected = make_result(number, n_steps=1 + number % 4)
            if number < n_rows:
                expected = make_result(number, n_steps=1 + number % 4, **NOTHING_NEW)
            assert store.result(row.index).pack() == expected.pack()
    names = {p.name for p in path.parent.iterdir()}
    assert names <= {
        "spectra.h5",
        "spectra.h5.lock",
        "spectra.h5.owner",
        "spectra.h5.spool",
        "spectra.h5.ledger",
    }


def mark_as_open_for_writing(processes, path, n_rows: int) -> None:
    """Kill a writer that has added one row, 7000, and so leaves the file marked."""
    ours, theirs = processes.Pipe(duplex=False)
    child = processes.Process(target=append_then_wait, args=(str(path), theirs))
    child.start()
    assert ours.poll(20)
    assert ours.recv() == n_rows + 1
    child.kill()
    child.join()


def append_then_wait(path: str, answer) -> None:
    with StoreWriter(Path(path)) as writer:
        writer.append(make_result(7000, n_steps=1))
        answer.send(writer.n_rows)
        time.sleep(60)


def tear_metadata(path: Path, name: str) -> None:
    """Change a byte of the header of a dataset, as a write that was killed at the border of a page does."""
    with h5py.File(path, "r") as file:
        address = h5py.h5o.get_info(file[name].id).addr
    with open(path, "r+b") as raw:
        raw.seek(address + 60)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 0xFF]))


@pytest.mark.parametrize("name", ["rpa/eps_real", "text"])
def test_metadata_torn_by_a_kill_are_found_and_nothing_waits_for_ever(processes, path, name, caplog):
    append_between(str(path), 0, 10)
    mark_as_open_for_writing(processes, path, 10)
    with open(path, "rb") as raw:
        marked = raw.read(48)
    with open(path, "r+b") as raw:  # so that the place of the header can be asked for
        mark_closed(path)
        tear_metadata(path, name)
        raw.write(marked)
    with StoreWriter(path) as writer:
        assert writer.n_rows == 11
        assert writer.append(make_result(30))
    assert "recovered 11 rows, 0 damaged" in caplog.text
    with open_store(path) as store:
        assert inconsistencies(store) == []


def test_metadata_that_an_append_finds_torn_are_copied_by_the_next(path, monkeypatch, caplog):
    append_between(str(path), 0, 3)
    torn = RuntimeError("Can't insert (incorrect metadata checksum after all read attempts)")
    with StoreWriter(path) as writer, monkeypatch.context() as patch:
        patch.setattr(writer_module, "write_records", raiser(torn))
        with pytest.raises(StoreError, match="metadata checksum"):
            writer.append(make_result(3))
    assert path.with_name("spectra.h5.torn").exists()
    with StoreWriter(path) as writer:
        assert writer.n_rows == 4  # the refused one waited in the spool
    assert "recovered 3 rows, 0 damaged" in caplog.text
    assert not path.with_name("spectra.h5.torn").exists()


def raiser(error: Exception):
    def fail(*_):
        raise error

    return fail
