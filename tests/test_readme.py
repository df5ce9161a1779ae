"""The README's commands exist, with the options it gives them; its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command_lines import parse
from tests.docs.pages import typed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TYPED = typed(README)


def test_there_is_something_to_type() -> None:
    assert sum(line.startswith("farm ") for line in TYPED) > 10
    assert {"make run", "make test"} <= set(TYPED)


@pytest.mark.parametrize("line", sorted({line for line in TYPED if line.startswith("farm ")}))
def test_every_farm_command_is_understood(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("line", sorted({line for line in TYPED if line.startswith("make ")}))
def test_every_make_target_exists(line: str) -> None:
    for target in line.split()[1:]:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()
