"""The chaos soak in its smallest form; `python benchmarks/soak.py` is the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


def test_nothing_is_lost_stored_twice_or_left_over() -> None:
    sizes = {"jobs": 60, "kills": 6, "restarts": 1, "freezes": 1, "workers": 2, "lease": 2}
    words = [word for name, number in sizes.items() for word in (f"--{name}", str(number))]
    done = subprocess.run([sys.executable, str(SOAK), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(
        line.split(maxsplit=1) for line in done.stdout.replace(" -9", "").splitlines() if " " in line
    )
    # It was really disturbed, and the work really went on.
    assert table["kills"].startswith("6:"), done.stdout
    assert table["freezes"].startswith("1:"), done.stdout
    assert table["lost"] == "0", done.stdout
