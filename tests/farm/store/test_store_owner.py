"""One writer a store, also across hosts that share the directory and know nothing of each other."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from store_samples import make_result

from farm.errors import StoreLockedError
from farm.store import StoreWriter, open_store, ownership
from farm.store.ownership import Ownership, read_note


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spectra.h5"


@pytest.fixture
def hosts(monkeypatch):
    """Choose the host that what follows runs on; locks of one kernel do not hold on another."""
    monkeypatch.setattr(ownership, "LEASE_S", 1.0)
    monkeypatch.setattr(ownership, "TOUCH_S", 0.2)
    monkeypatch.setattr(ownership, "_POLL_S", 0.1)
    monkeypatch.setattr(ownership, "_SETTLE_S", 0.1)

    def be(name: str) -> None:
        monkeypatch.setattr(ownership, "kernel_id", lambda: f"kernel of {name}")
        monkeypatch.setattr(ownership.socket, "gethostname", lambda: name)
        monkeypatch.setattr(ownership.fcntl, "flock", lambda *_: None)

    return be


def leave_note(path: Path, host: str) -> Path:
    note = path.with_name("spectra.h5.owner")
    text = json.dumps({"host": host, "pid": 17, "boot": f"kernel of {host}", "token": "left"})
    note.write_text(text, encoding="utf-8")
    return note


def test_a_second_writer_of_this_host_is_refused_and_the_first_named(path):
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()} is writing"):
            StoreWriter(path)
    with StoreWriter(path) as writer:
        assert writer.n_rows == 1
    assert not path.with_name("spectra.h5.owner").exists()


def test_a_writer_on_another_host_is_refused_while_the_first_lives(path, hosts):
    hosts("alpha")
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
        hosts("beta")
        with pytest.raises(StoreLockedError, match=f"process {os.getpid()} on alpha is writing"):
            StoreWriter(path)
        assert writer.append(make_result(1))


def test_the_note_of_a_host_that_is_gone_is_taken_over_after_the_lease(path, hosts):
    hosts("beta")
    leave_note(path, "alpha")
    began = time.monotonic()
    with StoreWriter(path) as writer:
        waited_s = time.monotonic() - began
        assert waited_s >= ownership.LEASE_S
        assert writer.append(make_result(0))


def test_the_note_of_a_process_of_this_kernel_is_no_reason_to_wait(path, hosts, monkeypatch):
    hosts("alpha")
    leave_note(path, "alpha")
    monkeypatch.setattr(ownership, "LEASE_S", 60.0)
    began = time.monotonic()
    with StoreWriter(path):
        assert time.monotonic() - began < 30


def test_a_writer_that_was_away_for_long_does_not_write_again(path, hosts):
    hosts("alpha")
    with StoreWriter(path) as frozen:
        frozen.append(make_result(0))
        leave_note(path, "beta")  # which has waited for the lease, and taken over
        with pytest.raises(StoreLockedError, match="process 17 on beta took over"):
            frozen.append(make_result(1))
    # Nor does its end take the note away from the new owner.
    assert read_note(path.with_name("spectra.h5.owner")).host == "beta"
    with open_store(path) as store:
        assert store.n_rows == 1


def test_of_two_that_take_over_at_once_one_wins(path, hosts, monkeypatch):
    hosts("gamma")
    leave_note(path, "alpha")
    monkeypatch.setattr(ownership, "_SETTLE_S", 0.5)
    # Each thread is a host of its own.
    monkeypatch.setattr(ownership, "kernel_id", lambda: f"kernel {threading.get_ident()}")
    won, lost = [], []

    def take() -> None:
        try:
            won.append(Ownership(path))
        except StoreLockedError as error:
            lost.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for owner in won:
        owner.release()
    assert (len(won), len(lost)) == (1, 1)


def test_what_a_kill_left_of_a_note_does_not_stay(path):
    begun = path.with_name(f"spectra.h5.owner.{ownership.kernel_id()}")
    begun.write_text("{", encoding="utf-8")
    with StoreWriter(path) as writer:
        assert writer.append(make_result(0))
    assert not begun.exists()


def test_a_note_that_says_nothing_is_none(path):
    path.with_name("spectra.h5.owner").write_text("{", encoding="utf-8")
    with StoreWriter(path) as writer:
        assert writer.append(make_result(0))
