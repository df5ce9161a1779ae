"""Which files hold entries: those that were named, and all below the directories that were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from farm.interchange.nomad import SUFFIX as NOMAD
from farm.sources.items import Rejected
from farm.sources.opening import COMPRESSED, brief

_NAMES = "*.json, *.json.gz or *.json.bz2"


def entry_files(paths: Iterable[Path]) -> Iterator[Path | Rejected]:
    """The JSON files of paths, those below directories in the order of their names."""
    for path in paths:
        if not path.exists():
            yield Rejected(str(path), "no such file or directory", "Check the path")
        elif path.is_dir():
            yield from _below(path)
        elif not _is_named_json(path.name):
            yield Rejected(str(path), "the format is not known", f"Name it {_NAMES}")
        else:
            yield path


def is_entry_file(path: Path) -> bool:
    """Whether a file of this name is read below a directory."""
    name = path.name
    return _is_named_json(name) and not name.startswith(".") and not name.endswith(NOMAD)


def unreadable(path: Path, error: OSError) -> Rejected:
    """What is said of a file or folder that the system, or a decompressor, does not read."""
    if error.errno is None:  # said by a decompressor, not by the system
        return Rejected(str(path), f"damaged: {brief(error)}", "Get the file again")
    return Rejected(str(path), f"cannot be read: {error.strerror or error}", "Check its permissions")


def _below(directory: Path) -> Iterator[Path | Rejected]:
    found = False
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(directory, onerror=closed.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if is_entry_file(path):
                found = True
                yield path
    for error in closed:
        yield unreadable(Path(error.filename), error)
    if not found and not closed:
        yield Rejected(str(directory), "no JSON files in it", f"Put {_NAMES} there")


def _is_named_json(name: str) -> bool:
    name = name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith(".json")
