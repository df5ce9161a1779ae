"""Reading a directory tree for a diagnosis: the texts, the sizes, and which binary files were cut off."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.errors import InputError
from workers.diagnose.listing import is_listing, listed_sizes

# Larger texts and trees are not outputs of one material.
_LONGEST_TEXT_BYTES = 64 * 2**20
_MOST_FILES = 50_000
_SNIFFED_BYTES = 2048

_BINARY_SUFFIXES = frozenset(
    {".upf", ".hdf5", ".h5", ".npz", ".npy", ".png", ".pdf", ".gz", ".bz2", ".json"}
)
_BINARY_PREFIXES = ("ns.", "ndb.", "wfc", "charge-density", "README")

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What a directory holds, paths relative to it.

    texts:   path -> text of everything that is one
    sizes:   path -> bytes of every file, those included that only a listing in the tree remembers
    cut_off: path -> bytes an HDF5 file should have, where it has fewer
    """

    texts: Mapping[str, str]
    sizes: Mapping[str, int]
    cut_off: Mapping[str, int]


def read_tree(directory: Path) -> Tree:
    """Read a directory and all below it; links to directories are not followed.

    Raises InputError when it is no directory, cannot be read, or holds more than 50,000 files.
    """
    if not directory.is_dir():
        raise InputError(
            f"{directory}: no such directory", fix="Name a directory with pw.x or yambo outputs"
        )
    texts: dict[str, str] = {}
    sizes: dict[str, int] = {}
    cut_off: dict[str, int] = {}
    listed: dict[str, int] = {}
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        try:
            sizes[name] = path.stat().st_size
            if (whole := _hdf5_bytes(path)) is not None and whole > sizes[name]:
                cut_off[name] = whole
            text = _text(path, sizes[name])
        except OSError:
            continue  # gone or unreadable: the rest may still tell
        if text is None:
            continue
        if is_listing(text):
            parent = path.parent.relative_to(directory).as_posix()
            prefix = "" if parent == "." else f"{parent}/"
            listed |= {prefix + key: size for key, size in listed_sizes(text).items()}
        else:
            texts[name] = text
    return Tree(texts=texts, sizes={**listed, **sizes}, cut_off=cut_off)


def _files(directory: Path) -> list[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        if Path(error.filename or "") == directory:
            raise InputError(f"{directory}: {error.strerror}") from error

    for root, _, names in os.walk(directory, onerror=refuse):
        found += [Path(root) / name for name in names if not name.startswith(".")]
        if len(found) > _MOST_FILES:
            raise InputError(
                f"{directory}: more than {_MOST_FILES} files", fix="Name the directory of one calculation"
            )
    return sorted(found)


def _text(path: Path, size: int) -> str | None:
    if path.suffix.lower() in _BINARY_SUFFIXES or path.name.startswith(_BINARY_PREFIXES):
        return None
    if size > _LONGEST_TEXT_BYTES or not path.is_file():
        return None
    with path.open("rb") as file:
        if b"\0" in file.read(_SNIFFED_BYTES):
            return None
    return path.read_text(encoding="utf-8", errors="replace")


def _hdf5_bytes(path: Path) -> int | None:
    """The size that an HDF5 file says it has; None for other files.

    The end-of-file address of the superblock, versions 0 to 3 (HDF5 File Format Specification, II.A).
    """
    with path.open("rb") as file:
        head = file.read(48)
    if len(head) < 48 or not head.startswith(_HDF5_MAGIC):
        return None
    version = head[8]
    offset, length = (40, head[13]) if version < 2 else (28, head[9])
    if version > 3 or length != 8:
        return None
    return int.from_bytes(head[offset : offset + 8], "little")
