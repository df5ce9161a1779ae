"""Listings that were kept beside outputs (``ls -lR``): sizes of files that are there no more; pure."""

from __future__ import annotations

import re

_DIRECTORY = re.compile(r"^(\.(?:/.*)?):$")
_FILE = re.compile(r"^-\S{9}\S?\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s(.+)$")


def is_listing(text: str) -> bool:
    """Whether a text is the long listing of a directory tree that starts at the directory itself."""
    lines = text.lstrip().splitlines()[:2]
    return len(lines) == 2 and lines[0] == ".:" and lines[1].startswith("total ")


def listed_sizes(text: str) -> dict[str, int]:
    """Relative path -> bytes of every file in a listing."""
    found: dict[str, int] = {}
    directory = ""
    for line in text.splitlines():
        if match := _DIRECTORY.match(line):
            directory = match[1].removeprefix(".").removeprefix("/")
        elif match := _FILE.match(line):
            found[f"{directory}/{match[2]}" if directory else match[2]] = int(match[1])
    return found


def make_listing(sizes: dict[str, int]) -> str:
    """A listing that :func:`listed_sizes` reads; dates and owners are of no use and left out."""
    by_directory: dict[str, list[str]] = {".": []}
    for path, size in sorted(sizes.items()):
        directory, _, name = path.rpartition("/")
        place = f"./{directory}" if directory else "."
        by_directory.setdefault(place, []).append(f"-rw-r--r-- 1 - - {size} - - - {name}")
    blocks = ["\n".join([f"{place}:", "total 0", *lines]) for place, lines in by_directory.items()]
    return "\n\n".join(blocks) + "\n"
