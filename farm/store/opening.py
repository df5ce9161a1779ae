"""How the file is opened: to append, or to read while another appends."""

from __future__ import annotations

import ctypes
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from farm.errors import StoreError
from farm.store.shared_file import shared
from farm.store.store_file import StoreFile
from farm.store.superblock import check_whole

# Readers and the writer hold HDF5's own file lock only while they open the file.
OPEN_ATTEMPTS, OPEN_PAUSE_S = 40, 0.05
# Sleeps of 1, 2, 4, ... ns between them.
METADATA_READ_ATTEMPTS = 29


def open_for_reading(path: Path, *, damaged: bool = False) -> StoreFile:
    """Open with SWMR, whether or not a writer is at work.

    damaged: open it even if it is cut off, to save what can be saved. Raises StoreError when there
    is no store that can be read.
    """
    if not path.is_file():
        raise StoreError(
            f"{path}: there is no store yet",
            fix="It is made with the first result: `farm seed`, then `farm up`",
        )
    access = _file_access()
    flags = h5py.h5f.ACC_RDONLY | h5py.h5f.ACC_SWMR_READ
    try:
        check_whole(path, signature_only=damaged)
        file = shared(path, lambda: _patiently(lambda: _open(path, flags, access)))
        # HDF5 drops its lock after opening for a SWMR writer but not for a reader: an idle reader
        # would keep the writer from ever starting.
        fcntl.flock(file.descriptor, fcntl.LOCK_UN)
        return file
    except BlockingIOError as error:
        raise StoreError(f"{path}: locked by another program", fix="Close that program") from error
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"{path}: not a store that can be read ({error})",
            fix="Start the writer: it recovers a store whose writer was killed, and says if it cannot",
        ) from error


def open_for_writing(path: Path) -> StoreFile:
    """Open to append with SWMR. Raises OSError where HDF5 refuses, as after a writer was killed."""
    check_whole(path)
    access = _file_access()
    # Opened first and switched to SWMR later, a file killed in between could not even be read.
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    file = _patiently(lambda: _open(path, flags, access))
    # That it is open must be on the disk before anything else changes: after a power cut, too, it is
    # then not taken for one that was closed in order.
    os.fsync(file.descriptor)
    return file


def _open(path: Path, flags: int, access: Any) -> StoreFile:
    return StoreFile(h5py.File(h5py.h5f.open(os.fsencode(path), flags, access)))


def _file_access() -> Any:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    _bound_retries(access)
    return access


def _bound_retries(access: Any) -> None:
    """Give up on damaged metadata after about a second, reading or writing.

    HDF5 takes a checksum that does not fit for a write in progress and tries 100 times, sleeping
    twice as long after each: for ever. h5py does not offer the property, the library it loaded does.
    """
    set_attempts = getattr(ctypes.CDLL(h5py.h5p.__file__), "H5Pset_metadata_read_attempts", None)
    if set_attempts is not None:
        set_attempts.argtypes = (ctypes.c_int64, ctypes.c_uint)
        set_attempts(access.id, METADATA_READ_ATTEMPTS)


def _patiently(opening: Callable[[], StoreFile]) -> StoreFile:
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return opening()
        except BlockingIOError:
            time.sleep(OPEN_PAUSE_S)
    return opening()
