"""Who may open the file and how: the writer's lock, opening to append, opening to read."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import h5py

from farm.errors import StoreError, StoreLockedError
from farm.store.layout import hdf5_errors
from farm.store.recovery import recover

log = logging.getLogger(__name__)

# Readers and the writer hold HDF5's own file lock only while they open the file.
OPEN_ATTEMPTS, OPEN_PAUSE_S = 40, 0.05


def lock(path: Path) -> IO[str]:
    """Hold ``<path>.lock`` for this process; the kernel gives it back however the process ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(lock_path, "a+", encoding="ascii")  # noqa: SIM115 - held until close()
    except OSError as error:
        raise StoreError(f"{lock_path}: {error}", fix="Choose a directory that can be written") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        holder = handle.read(32).strip() or "unknown"
        handle.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreError(f"{lock_path}: {error}", fix="Use a file system with file locks") from error
        raise StoreLockedError(
            f"{path}: process {holder} is writing to this store", fix="One writer a store: stop that one"
        ) from error
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def open_for_appending(path: Path) -> Any:
    """Open with SWMR from the first moment, recovering the file if its last writer was killed."""
    try:
        return _open_swmr_write(path)
    except BlockingIOError as error:
        raise StoreError(
            f"{path}: another program keeps it open", fix="Close it, or let it open the file with SWMR"
        ) from error
    except OSError as refused:
        try:
            done = recover(path)
        except StoreError as error:
            raise StoreError(
                f"{path}: not a store that can be read ({refused})",
                fix="Move the file aside; the spool and a fresh store will take its place",
            ) from error
        level = logging.ERROR if done.n_damaged else logging.WARNING
        log.log(level, "%s: recovered %d rows, %d damaged", path, done.n_rows, done.n_damaged)
        with hdf5_errors(path, "opening the recovered store"):
            return _open_swmr_write(path)


def open_for_reading(path: Path) -> Any:
    """Open with SWMR, whether or not a writer is at work. Raises StoreError when there is no store."""
    if not path.is_file():
        raise StoreError(
            f"{path}: there is no store yet",
            fix="It is made with the first result: `farm seed`, then `farm up`",
        )
    try:
        return _patiently(lambda: h5py.File(path, "r", swmr=True))
    except BlockingIOError as error:
        raise StoreError(f"{path}: locked by another program", fix="Close that program") from error
    except OSError as error:
        raise StoreError(
            f"{path}: not a store that can be read ({error})",
            fix="Start the writer: it recovers a store whose writer was killed, and says if it cannot",
        ) from error


def _open_swmr_write(path: Path) -> Any:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    # Opened first and switched to SWMR later, a file killed in between could not even be read.
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    return _patiently(lambda: h5py.File(h5py.h5f.open(os.fsencode(path), flags, access)))


def _patiently(opening: Callable[[], Any]) -> Any:
    for _ in range(OPEN_ATTEMPTS - 1):
        try:
            return opening()
        except BlockingIOError:
            time.sleep(OPEN_PAUSE_S)
    return opening()
