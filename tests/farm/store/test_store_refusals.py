import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from store_samples import make_result

from farm.errors import ResultRefusedError, StoreError, StoreLockedError
from farm.store import StoreWriter, open_store
from farm.store.layout import LIBRARY_BOUNDS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spectra.h5"


def fill(path: Path, n_rows: int = 3) -> None:
    with StoreWriter(path) as writer:
        for number in range(n_rows):
            writer.append(make_result(number))


def test_a_missing_store_names_the_fix(path):
    with pytest.raises(StoreError, match="no store yet") as refused:
        open_store(path)
    assert "farm seed" in refused.value.fix


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"\x89HDF\r\n\x1a\n" + b"\0" * 500])
def test_garbage_is_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not a store"):
        open_store(path)
    with pytest.raises(StoreError, match="not a store") as refused:
        StoreWriter(path)
    assert refused.value.fix
    assert path.read_bytes() == content


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_a_store_error_or_still_right(path, kept):
    fill(path, 20)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(StoreError), open_store(path) as store:  # noqa: PT012 - opening may succeed
        for index in range(20):
            assert store.result(index).pack() == make_result(index).pack()


def test_somebody_elses_hdf5_file_is_refused(path):
    with h5py.File(path, "w", libver=LIBRARY_BOUNDS) as file:
        file["x"] = [1, 2, 3]
    before = path.read_bytes()
    for opening in (open_store, StoreWriter):
        with pytest.raises(StoreError, match="not a store of spectra"):
            opening(path)
    assert path.stat().st_size == len(before)


def test_another_layout_version_is_refused(path):
    fill(path)
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        file.attrs["layout_version"] = 99
    for opening in (open_store, StoreWriter):
        with pytest.raises(StoreError, match="layout version 99") as refused:
            opening(path)
        assert "export" in refused.value.fix


def test_a_missing_dataset_is_named(path):
    fill(path)
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        del file["ladder/steps"]
    with pytest.raises(StoreError, match="ladder/steps is missing"):
        open_store(path)


def test_a_second_writer_is_refused_and_told_who_has_it(path):
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
        code = "import sys, pathlib, farm.store as s; s.StoreWriter(pathlib.Path(sys.argv[1]))"
        second = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert "StoreLockedError" in second.stderr
        assert f"process {os.getpid()} is writing" in second.stderr
        with pytest.raises(StoreLockedError):
            StoreWriter(path)
        assert writer.append(make_result(1))
    with StoreWriter(path) as writer:
        assert writer.n_rows == 2


def test_the_spool_is_taken_in_and_bad_files_are_set_aside(path, caplog):
    fill(path, 1)
    spool = path.with_name("spectra.h5.spool")
    (spool / "1.result").write_bytes(make_result(0).pack())
    (spool / "2.result").write_bytes(make_result(5).pack())
    (spool / "3.result").write_bytes(b"\xff\x00 not msgpack")
    (spool / "4.tmp").write_bytes(make_result(6).pack()[:50])
    with StoreWriter(path) as writer:
        assert writer.n_rows == 2
        assert writer.replay_spool() == 0
    assert [p.name for p in spool.iterdir()] == ["3.unreadable"]
    assert "set aside" in caplog.text
    with open_store(path) as store:
        assert store.row("crystal-5") is not None


def test_reading_the_store_needs_no_heavy_package(path):
    fill(path)
    code = (
        "import sys, pathlib; from farm.store import open_store\n"
        "with open_store(pathlib.Path(sys.argv[1])) as store: print(store.counts().materials)\n"
        "print({'pymatgen', 'torch', 'celery', 'pydantic', 'spglib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["3", "set()"]


def test_an_integer_that_cannot_be_sent_is_refused_by_name(path):
    result = make_result(0)
    odd = replace(result, crystal=replace(result.crystal, properties={"huge": 2**70}))
    with StoreWriter(path) as writer:
        with pytest.raises(ResultRefusedError, match="crystal-0: it cannot be sent"):
            writer.append(odd)
        assert writer.append(result)


@pytest.mark.parametrize("error", [RuntimeError("bad object header"), KeyError("format"), OSError("bad")])
def test_damage_that_hdf5_stumbles_over_first_is_a_store_error(path, monkeypatch, error):
    fill(path, 1)

    def stumble(*_):
        raise error

    monkeypatch.setattr("farm.store.layout.layout_version", stumble)
    with pytest.raises(StoreError, match="opening the store failed"):
        open_store(path)
