"""The first bytes of an HDF5 file: whether a writer has it open, and how long it is.

HDF5 File Format Specification 3.0, II.A, superblock version 2 and 3: byte 8 the version, byte 11 not 0
while a writer has the file or was killed with it, bytes 28 to 35 the end of the file, 44 to 47 a checksum
of what is before, Bob Jenkins' lookup3.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_LENGTH = 48
_VERSION, _OPEN, _END, _CHECKSUM = 8, 11, 28, 44
_MASK = 0xFFFFFFFF
# As h5clear does: space that the killed writer may have set aside beyond what it wrote stays unused.
_UNUSED_BYTES = 1 << 20


def check_whole(path: Path, *, signature_only: bool = False) -> None:
    """Raise OSError unless the file has HDF5's signature and, closed in order, is as long as it says.

    SWMR reads zeros behind the end of a file that was cut off.
    """
    with open(path, "rb") as file:
        start = file.read(_LENGTH)
    if not start.startswith(SIGNATURE):
        raise OSError("it is not an HDF5 file")
    if signature_only or not _is_known(start) or start[_OPEN]:
        return
    (end,) = struct.unpack_from("<Q", start, _END)
    size = path.stat().st_size
    if size < end:
        raise OSError(f"it is cut off: {size} of {end} bytes")


def is_left_open(path: Path) -> bool:
    """Whether the file says that a writer has it open: where none has, one was killed with it."""
    with open(path, "rb") as file:
        start = file.read(_LENGTH)
    return start.startswith(SIGNATURE) and _is_known(start) and bool(start[_OPEN])


def mark_closed(path: Path) -> None:
    """Say that no writer has the file open, and that it is as long as it is; durable when this returns.

    For a file whose writer was killed and whose pages are all there: what SWMR has linked is then complete.
    Raises OSError for a file without such a superblock, or one that another program has open.
    """
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as HDF5 does: whoever else has it open keeps it
        start = bytearray(file.read(_LENGTH))
        if not start.startswith(SIGNATURE) or not _is_known(start):
            raise OSError("its superblock is none that is known")
        (end,) = struct.unpack_from("<Q", start, _END)
        end = max(end, path.stat().st_size) + _UNUSED_BYTES
        start[_OPEN] = 0
        struct.pack_into("<Q", start, _END, end)
        struct.pack_into("<I", start, _CHECKSUM, lookup3(bytes(start[:_CHECKSUM])))
        file.truncate(end)
        file.seek(0)
        file.write(start)
        file.flush()
        os.fsync(file.fileno())


def _is_known(start: bytes | bytearray) -> bool:
    return len(start) == _LENGTH and start[_VERSION] in (2, 3)


def lookup3(data: bytes) -> int:
    """Bob Jenkins' lookup3 ("hashlittle") of some bytes with initial value 0, as HDF5 sums metadata up."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    at = 0
    while len(data) - at > 12:
        x, y, z = struct.unpack_from("<III", data, at)
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
        at += 12
    if at == len(data):
        return c
    x, y, z = struct.unpack("<III", data[at:].ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)


def _rotated(x: int, bits: int) -> int:
    return ((x << bits) | (x >> (32 - bits))) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _MASK) ^ _rotated(c, bits)
        c = (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _MASK
        a, b, c = b, c, a
    # Seven steps of a rotation of three: the last word that was changed is b.
    return b
