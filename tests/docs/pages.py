"""The pages of the site as they are written, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.transcript import File, read_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def pages() -> list[Path]:
    """All of them."""
    return sorted(DOCS.rglob("*.md"))


def files_of(page: str) -> dict[str, str]:
    """What a page tells to save, by name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return {step.name: step.text for step in read_page(text) if isinstance(step, File)}


def typed(text: str) -> list[str]:
    """What a reader would type: lines of shell blocks, in transcripts those behind a prompt."""
    found = []
    for language, block in re.findall(r"```(console|bash)[^\n]*\n(.*?)```", text, flags=re.DOTALL):
        rows = re.sub(r"\\\n\s*", "", block).splitlines()
        if language == "console":
            rows = [row.removeprefix("$ ") for row in rows if row.startswith("$ ")]
        found += [part.strip() for row in rows for part in re.split(r"&&|\||;", row.split("  #")[0])]
    return [re.sub(r"^(\w+=\S+ )+", "", command) for command in found if command]
