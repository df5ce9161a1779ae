"""Processors that a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from farm.usable_cpus import usable_cpus

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("cpu.max", "max 100000\n", HERE),
        ("cpu.max", "150000 100000\n", 1),
        ("cpu.max", "50000 100000\n", 1),
        ("cpu.max", "6400000 100000\n", HERE),
        ("cpu.max", "nonsense", HERE),
        ("", "", HERE),
    ],
)
def test_a_quota_counts_in_whole_processors(tmp_path: Path, file: str, text: str, found: int) -> None:
    if file:
        (tmp_path / file).write_text(text)
    assert usable_cpus(tmp_path) == found


@pytest.mark.parametrize(("quota", "found"), [("-1", HERE), ("100000", 1)])
def test_older_control_groups_have_it_in_two_files(tmp_path: Path, quota: str, found: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == found


def test_a_process_that_is_bound_to_one_has_one() -> None:
    bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{bind}; from farm.usable_cpus import usable_cpus; print(usable_cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"
