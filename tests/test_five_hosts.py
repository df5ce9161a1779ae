"""A farm on five hosts, two of which are cut off and healed; `benchmarks/five_hosts.py` is the whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "five_hosts.py"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and iproute2"
)
@pytest.mark.usefixtures("pp_x")
def test_nothing_is_lost_when_a_node_and_the_store_are_cut_off(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--crystals", "6", "--lease", "3", "--json", str(report)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    if "left out" in ended.stdout:
        pytest.skip(ended.stdout.strip())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(report.read_text(encoding="utf-8"))
    assert (told["done"], told["rows"], told["materials"], told["left_over"]) == (6, 6, 6, [])
    assert [cut["host"] for cut in told["cuts"]] == ["node1", "store"]
    assert all(cut["up_s"] - cut["down_s"] > 3 * 3 for cut in told["cuts"])
