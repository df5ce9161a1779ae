"""The decisions of the monitors, and a process that does nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.free_disk import free_disk_bytes
from workers.diagnosis import Severity
from workers.handlers import Pace
from workers.machine import TreeUse, available_memory_bytes, tree_use
from workers.monitors import (
    LEAST_AVAILABLE_BYTES,
    SILENCE_S,
    SPEECHLESS_S,
    DiskMonitor,
    SilenceMonitor,
    diagnose_disk,
    diagnose_memory,
)
from workers.sessions import LEAST_FREE_BYTES


class FakeSession:
    """A session of one running process."""

    running = True
    attempt = 1
    directory = Path("/")

    def __init__(self, pid: int) -> None:
        self.process_ids = [pid]
        self.speaks = True

    def has_printed(self) -> bool:
        return self.speaks


@pytest.fixture
def session() -> Iterator[Any]:
    """Of a process that sleeps."""
    process = subprocess.Popen(["sleep", "60"])
    yield FakeSession(process.pid)
    process.kill()
    process.wait()


def test_disk() -> None:
    assert diagnose_disk(LEAST_FREE_BYTES) is None
    found = diagnose_disk(LEAST_FREE_BYTES - 1)
    assert found is not None
    assert (found.name, found.severity) == ("disk_full", Severity.MACHINE)


def test_memory_blames_only_runs_that_hold_it() -> None:
    large, small = (TreeUse(cpu_s=1, resident_bytes=n * LEAST_AVAILABLE_BYTES) for n in (4, 0))
    assert diagnose_memory(LEAST_AVAILABLE_BYTES, large) is None
    assert diagnose_memory(LEAST_AVAILABLE_BYTES - 1, small) is None
    found = diagnose_memory(LEAST_AVAILABLE_BYTES - 1, large)
    assert found is not None
    assert found.name == "out_of_memory"
    assert "this run holds 1024 MB" in found.evidence.text


def test_full_disk_ends_a_running_attempt(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = DiskMonitor(session)
    assert not monitor.check()
    monkeypatch.setattr("workers.monitors.free_disk_bytes", lambda _: 0)
    assert monitor.check()
    session.running = False
    assert not monitor.check()


def test_silence_counts_from_the_last_sign_of_life(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    cpu_s = 0.0
    monkeypatch.setattr("workers.monitors.tree_use", lambda _: TreeUse(cpu_s=cpu_s, resident_bytes=0))
    monitor = SilenceMonitor(session, clock=lambda: now)
    for _ in range(5):
        assert not monitor.check()
        now += SILENCE_S / 6
    cpu_s += 1
    for _ in range(6):
        assert not monitor.check()
        now += SILENCE_S / 6
    assert monitor.check()
    assert monitor.diagnosis is not None
    assert monitor.diagnosis.name == "silent"
    session.attempt = 2
    assert not monitor.check()


def test_busy_run_without_a_word_is_silent_too(session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now, cpu_s = 0.0, 0.0
    monkeypatch.setattr("workers.monitors.tree_use", lambda _: TreeUse(cpu_s=cpu_s, resident_bytes=0))
    monitor = SilenceMonitor(session, clock=lambda: now)
    assert not monitor.check()
    now, cpu_s = SPEECHLESS_S, SPEECHLESS_S
    assert not monitor.check()
    session.speaks = False
    now += SPEECHLESS_S
    cpu_s += SPEECHLESS_S
    assert monitor.check()


def test_long_runs_are_looked_at_less_often() -> None:
    now = 0.0
    pace = Pace(clock=lambda: now)
    looks = []
    for second in range(1000):
        now = float(second)
        if pace.is_due(1):
            looks.append(second)
    assert looks[:4] == [0, 1, 2, 3]
    assert len(looks) < 100
    assert looks[-1] - looks[-2] == 30
    assert pace.is_due(2)


def test_machine_is_measured(tmp_path: Path, session: Any) -> None:
    assert free_disk_bytes(tmp_path) > 0
    assert available_memory_bytes() > 0
    assert tree_use(session.process_ids[0]).resident_bytes > 0
    session_gone = subprocess.Popen(["true"])
    session_gone.wait()
    assert tree_use(session_gone.pid) == TreeUse(cpu_s=0.0, resident_bytes=0)
