"""Opening a file, compressed or not, and saying in one line why that went wrong."""

from __future__ import annotations

import bz2
import gzip
import zlib
from pathlib import Path
from typing import IO, cast

COMPRESSED = (".bz2", ".gz")
# Beside OSError, which a missing file and a wrong first byte raise: a stream that is cut or damaged.
DAMAGED = (EOFError, zlib.error)

_LONGEST_REASON = 160


def open_bytes(path: Path) -> IO[bytes]:
    """The content of a file, decompressed if its name says so (``.bz2``, ``.gz``)."""
    if path.name.lower().endswith(".bz2"):
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if path.name.lower().endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def brief(error: BaseException) -> str:
    """The root of a parser's complaint on one line that a terminal can show, for a reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    printable = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(error))
    words = " ".join(printable.split()).rstrip(".")
    if len(words) > _LONGEST_REASON:
        words = words[:_LONGEST_REASON] + "..."
    # What these say needs no class name before it; others say as little as "'lattice'".
    if words and isinstance(error, ValueError | OSError | EOFError | zlib.error):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
