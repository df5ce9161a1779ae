"""The tutorial, followed word for word in a directory and an environment of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.docs.transcript import Command, difference, follow, read_page

ROOT = Path(__file__).parents[2]
# What the first block does once a machine; the tests' own environment stands for it.
_SET_UP = ("git clone ", "make setup")


@pytest.mark.timeout(900)  # a minute and a half where nothing else runs
def test_tutorial_does_and_prints_what_it_says(pp_x: Path, tmp_path: Path) -> None:
    steps = read_page((ROOT / "docs/tutorial.md").read_text(encoding="utf-8"))
    steps = [step for step in steps if not (isinstance(step, Command) and step.typed.startswith(_SET_UP))]
    checkout = tmp_path / "farm"
    checkout.mkdir()
    (checkout / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "FARM_PSEUDO_DIR": str(pp_x),
    }
    commands = [step for step in steps if isinstance(step, Command)]
    assert len(commands) > 10
    for command, printed in zip(commands, follow(steps, tmp_path, environment), strict=True):
        assert not (wrong := difference(command.shown, printed)), f"$ {command.typed}\n{wrong}\n\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        (["a 1.00 b"], "a 1.001 b\n", True),
        (["a 1.00 b"], "a 1.10 b\n", False),
        (["a", "...", "c"], "a\nb\nb\nc", True),
        (["a", "..."], "a\nb\nc", True),
        (["a"], "a\nb", False),
        (["a", "...", "d"], "a\nb\nc", False),
        (["took 3.0 s"], "took 77 s", True),
        (["done  A  1.0 CPU s", "done  B  2.0 CPU s"], "done  B  3.0 CPU s\ndone  A  1.5 CPU s", True),
        ([" m   gap  CPU s", " A   1.0    2.5"], " m   gap  CPU s\n A   1.0    7.7", True),
        ([" m   gap  CPU s", " A   1.0    2.5"], " m   gap  CPU s\n A   2.0    2.5", False),
        (
            [" m   gap  CPU s", " A   1.0    2.5", " B   3.0    2.6"],
            " m   gap  CPU s\n B   3.0    2.4\n A   1.0    2.5",
            True,
        ),
        (["x ... y"], "x 3 z y", True),
        (["x ... y"], "x 3 z", False),
    ],
)
def test_comparison_tells_what_differs(shown: list[str], printed: str, *, agrees: bool) -> None:
    assert (difference(shown, printed) == "") is agrees
