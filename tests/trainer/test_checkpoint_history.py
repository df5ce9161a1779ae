"""The history of a registry: every line there, in order, whatever befell the file."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from checkpoint_samples import write_versions

from farm.errors import CheckpointError
from trainer.checkpoints.exchange import pull
from trainer.checkpoints.history import Event, append, entry, read
from trainer.checkpoints.registry import Registry


@pytest.fixture
def registry(tmp_path, small_config) -> Registry:
    """Three versions; its clock goes on by an hour with each look."""
    hours = iter(range(1000))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    registry = Registry(tmp_path / "checkpoints", clock=lambda: start + timedelta(hours=next(hours)))
    write_versions(registry, small_config, 3)
    return registry


def make_entry(version: str, **numbers):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return entry(Event.PROMOTED, version, now=now, origin=None, why="test", numbers=numbers)


def test_what_happens_is_written_down_in_order(registry, tmp_path):
    first, second, third = registry.versions()
    registry.promote(first, reason="refit", median_sc=0.8, before=None)
    registry.promote(second)
    registry.record_refusal(third, reason="not better", median_sc=0.7, before=0.8)
    registry.rollback()
    told = [
        (e.time[11:13], e.event, e.version, e.origin, e.why, dict(e.numbers))
        for e in registry.history().entries
    ]
    assert told == [
        ("00", "promoted", first, None, "refit", {"median_sc": 0.8, "before": None}),
        ("01", "promoted", second, first, "by hand", {}),
        ("02", "refused", third, second, "not better", {"median_sc": 0.7, "before": 0.8}),
        ("03", "rolled back", first, second, "by hand", {}),
    ]
    elsewhere = Registry(tmp_path / "elsewhere")
    pull(elsewhere, registry.directory, third)
    told = [(e.event, e.version, e.origin) for e in elsewhere.history().entries]
    assert told == [("pulled", third, str(registry.directory)), ("promoted", third, None)]


def test_what_changes_nothing_is_not_written(registry):
    version = registry.versions()[0]
    registry.promote(version)
    registry.promote(version)
    with pytest.raises(CheckpointError):
        registry.promote("0009-abcdef")
    with pytest.raises(CheckpointError):
        registry.rollback()
    assert len(registry.history().entries) == 1


def test_the_reader_goes_over_damage_and_says_how_much(tmp_path):
    path = tmp_path / "history.jsonl"
    append(path, make_entry("0001-aaaaaa"))
    good = path.read_bytes()
    for damage in (
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b'{"time": 3}\n',
        b"\n",
        good.replace(b"promoted", b"moulted"),
    ):
        with path.open("ab") as file:
            file.write(damage)
    # A line that was cut short: the next one starts anew.
    with path.open("ab") as file:
        file.write(good[:20])
    append(path, make_entry("0002-bbbbbb"))
    found = read(path)
    # An event of a newer farm is an event.
    assert [(e.event, e.version) for e in found.entries] == [
        ("promoted", "0001-aaaaaa"),
        ("moulted", "0001-aaaaaa"),
        ("promoted", "0002-bbbbbb"),
    ]
    assert found.n_damaged == 4
    assert read(tmp_path / "none.jsonl").entries == ()


def test_numbers_of_any_kind_become_plain_ones(tmp_path):
    path = tmp_path / "history.jsonl"
    append(path, make_entry("v", a=np.float32(0.5), b=np.int64(3), c=float("nan"), d=np.inf, e=None, f="x"))
    (found,) = read(path).entries
    assert found.numbers == {"a": 0.5, "b": 3, "c": None, "d": None, "e": None, "f": None}


def test_many_writers_lose_no_line(tmp_path):
    path = tmp_path / "history.jsonl"
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC;"
        "from trainer.checkpoints.history import *;"
        "[append(Path(sys.argv[1]), entry(Event.REFUSED, f'{sys.argv[2]}-{n}', now=datetime.now(UTC),"
        " origin=None, why='x' * 300, numbers={})) for n in range(50)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(i)]) for i in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    found = read(path)
    assert found.n_damaged == 0
    versions = [e.version for e in found.entries]
    assert sorted(versions) == sorted(f"{i}-{n}" for i in range(4) for n in range(50))
    # Each writer's own lines are in its order.
    assert all([v for v in versions if v[0] == i] == [f"{i}-{n}" for n in range(50)] for i in "0123")


def test_a_history_that_cannot_be_written_undoes_no_promotion(registry, caplog):
    (registry.directory / "history.jsonl").mkdir()
    registry.promote(registry.versions()[1])
    assert registry.latest() == registry.versions()[1]
    assert "not recorded" in caplog.text
    with pytest.raises(CheckpointError, match=r"history\.jsonl: cannot be read"):
        registry.history()


def test_the_file_is_json_lines_that_name_what_they_hold(registry):
    registry.promote(registry.versions()[0], reason="two\nlines", sc=0.5)
    (line,) = Path(registry.directory, "history.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00+00:00",
        "event": "promoted",
        "version": registry.versions()[0],
        "from": None,
        "why": "two lines",
        "numbers": {"sc": 0.5},
    }
