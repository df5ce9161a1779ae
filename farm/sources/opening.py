"""Opening a file, compressed or not, and saying in one line why that went wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

COMPRESSED = (".bz2", ".gz")
# Beside OSError, which a missing file and a wrong first byte raise: a stream that is cut or damaged.
DAMAGED = (EOFError, zlib.error)

_LONGEST_REASON = 160


class Meter:
    """How much of a source was read, for a progress bar.

    n_bytes:            of files, as they lie on the disk, compressed or not
    n_entries:          of a database
    n_entries_expected: of these in all, as the database says; None: it does not
    """

    n_bytes = 0
    n_entries = 0
    n_entries_expected: int | None = None


class _Metered(io.RawIOBase):
    """A file that tells a meter what was read of it."""

    def __init__(self, file: io.FileIO, meter: Meter) -> None:
        self._file = file
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        n_bytes = self._file.readinto(buffer) or 0
        self._meter.n_bytes += n_bytes
        return n_bytes


@contextmanager
def open_bytes(path: Path, meter: Meter | None = None) -> Iterator[IO[bytes]]:
    """The content of a file, decompressed if its name says so (``.bz2``, ``.gz``)."""
    with path.open("rb", buffering=0) as raw:
        file = io.BufferedReader(_Metered(raw, meter or Meter()))
        name = path.name.lower()
        if name.endswith(".bz2"):
            with bz2.BZ2File(file) as unpacked:
                yield cast("IO[bytes]", unpacked)
        elif name.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield cast("IO[bytes]", unzipped)
        else:
            yield file


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
