"""A power cut while a row is appended: of the pages not yet forced to disk, any may be old or new.

The states of the file before an append, after its data, and after its counter are mixed page by page, at
random lengths; the spool, which is on the disk before, is as it was.
"""

import random
from pathlib import Path

import pytest
from store_samples import append_between, make_result

from farm.store import StoreWriter, open_store
from farm.store.ledger import ledger_of
from farm.store.spool import spool_of
from farm.store.store_file import StoreFile

PAGE_BYTES = 4096
N_ROWS = 6


def torn(states: list[bytes], chance: random.Random) -> bytes:
    """One of the files that a power cut may leave of one that went through these states."""
    shortest, longest = len(states[0]), len(states[-1])
    length = chance.choice([shortest, longest, chance.randrange(shortest, longest + 1)])
    pages = []
    for at in range(0, length, PAGE_BYTES):
        page = chance.choice(states)[at : at + PAGE_BYTES]
        pages.append(page + bytes(PAGE_BYTES - len(page)))  # room the file has, and no data yet
    return b"".join(pages)[:length]


@pytest.fixture(scope="module")
def appended(tmp_path_factory) -> tuple[list[bytes], list[bytes]]:
    """The states that the store and its ledger go through while the last row is appended."""
    path = tmp_path_factory.mktemp("store") / "spectra.h5"
    append_between(str(path), 0, N_ROWS - 1)
    store, flush = [], StoreFile.flush
    with StoreWriter(path) as writer, pytest.MonkeyPatch.context() as patch:

        def flush_and_look(file: StoreFile) -> None:
            flush(file)
            store.append(path.read_bytes())

        store.append(path.read_bytes())
        ledger = [ledger_of(path).read_bytes()]
        patch.setattr(StoreFile, "flush", flush_and_look)
        writer.append(make_result(N_ROWS - 1, n_steps=1 + (N_ROWS - 1) % 4))
        patch.undo()
        ledger.append(ledger_of(path).read_bytes())
    assert len(store) == 3
    return store, ledger


def cut(path: Path, states: tuple[list[bytes], list[bytes]], chance: random.Random) -> None:
    """Leave at ``path`` what a power cut may leave, with the last row in the spool."""
    store, ledger = states
    path.parent.mkdir()
    path.write_bytes(torn(store, chance))
    ledger_of(path).write_bytes(torn(ledger, chance))
    spool_of(path).mkdir()
    last = make_result(N_ROWS - 1, n_steps=1 + (N_ROWS - 1) % 4)
    (spool_of(path) / "00000000000000000001-1.result").write_bytes(last.pack())


@pytest.mark.parametrize("seed", range(4))
def test_a_power_cut_loses_and_spoils_nothing(tmp_path, appended, seed):
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    for trial in range(10):
        path = tmp_path / str(trial) / "spectra.h5"
        cut(path, appended, chance)
        with StoreWriter(path) as writer:
            assert writer.n_rows == N_ROWS
        with open_store(path) as store:
            assert [row.material_id for row in store.rows(superseded=True)] == [
                f"crystal-{i}" for i in range(N_ROWS)
            ]
            for index in range(N_ROWS):
                assert store.result(index).pack() == make_result(index, n_steps=1 + index % 4).pack()


def test_without_the_ledger_some_would_be_lost(tmp_path, appended):
    # That the trials above are hard enough: HDF5 alone cannot read every one of these files.
    chance, n_lost = random.Random(0), 0  # noqa: S311 - as above
    for trial in range(20):
        if n_lost:
            break
        path = tmp_path / str(trial) / "spectra.h5"
        cut(path, appended, chance)
        ledger_of(path).unlink()
        try:
            with StoreWriter(path) as writer:
                n_lost += writer.n_rows < N_ROWS
        except Exception:  # noqa: BLE001 - whatever it is, the rows are lost
            n_lost += 1
    assert n_lost
