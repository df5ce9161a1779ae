"""`farm import` killed and stopped: what came in stays whole, and the same command goes on from there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from interchange_samples import entry, same, write, write_protocol

from farm.errors import StoreError
from farm.interchange.published_entry import published_entry_of
from farm.store import open_store

N_FILES = 400
CELL = "orthorhombic"  # whose symmetry is found fastest
_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    write_protocol(directory / "protocol.toml")
    for n in range(N_FILES):
        write(directory / "published" / f"{n:03d}.json", entry(n, CELL))
    return directory


class Importing:
    """One `farm import` in a process of its own."""

    def __init__(self, source: Path, home: Path, *flags: str) -> None:
        self.home = home
        environment = {**os.environ, "FARM_HOME": str(home), "OMP_NUM_THREADS": "1"}
        arguments = [
            "import",
            str(source / "published"),
            "--protocol",
            str(source / "protocol.toml"),
            *flags,
        ]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "farm.cli.main", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # signals to its group do not reach the tests
        )

    def wait_for(self, n_rows: int) -> None:
        deadline = time.monotonic() + _WITHIN_S
        while n_stored(self.home) < n_rows:
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.01)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=_WITHIN_S)
        return self.process.returncode, out, err


def n_stored(home: Path) -> int:
    try:
        with open_store(home / "spectra.h5") as store:
            return store.n_rows
    except StoreError:  # not there yet
        return 0


def assert_whole(home: Path) -> None:
    with open_store(home / "spectra.h5") as store:
        rows = list(store.rows(superseded=True))
        assert sorted(row.material_id for row in rows) == [f"agm{n:09d}" for n in range(N_FILES)]
        for row in rows:
            number = int(row.material_id.removeprefix("agm"))
            sample = entry(number, CELL)
            assert same(published_entry_of(store.result(row.index)), sample)


@pytest.mark.parametrize(("n_rows", "processes"), [(1, "1"), (300, "2")])
def test_killed_anywhere_and_typed_again_all_is_there_once(
    source: Path, tmp_path: Path, n_rows: int, processes: str
) -> None:
    importing = Importing(source, tmp_path, "--processes", processes)
    importing.wait_for(n_rows)
    started = psutil.Process(importing.process.pid).children(recursive=True)
    importing.process.kill()
    importing.end()
    assert psutil.wait_procs(started, timeout=10)[1] == []
    before = n_stored(tmp_path)
    assert n_rows <= before <= N_FILES
    code, out, err = Importing(source, tmp_path, "--processes", processes).end()
    assert code == 0
    # What a killed writer left is mended first, which is said.
    assert re.fullmatch(r"(.* recovered \d+ rows, 0 damaged\n)?", err)
    (new,) = re.findall(r"^imported (\d+)", out, re.MULTILINE)
    assert int(new) + before == N_FILES
    assert out.endswith(f", skipped {before}, rejected 0\n")
    assert_whole(tmp_path)


def test_a_stop_is_one_line_and_keeps_what_came_in(source: Path, tmp_path: Path) -> None:
    importing = Importing(source, tmp_path, "--processes", "2", "--json")
    importing.wait_for(100)
    os.killpg(importing.process.pid, signal.SIGINT)  # as a terminal does
    code, out, err = importing.end()
    assert (code, out, err.count("\n")) == (130, "", 1), err
    (told,) = re.findall(r"([\d,]+) results are in and stay; the same command goes on from there", err)
    assert 100 <= int(told) == n_stored(tmp_path) <= N_FILES
    code, _, err = Importing(source, tmp_path).end()
    assert (code, err) == (0, "")
    assert_whole(tmp_path)
