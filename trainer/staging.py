"""Directories that appear whole or not at all: filled beside, flushed to the disk, then renamed.

What a process left that was killed meanwhile stays behind as ``.farm-staging-*`` until the next one comes:
the kernel lets go of a dead process's lock, and what nobody locks is nobody's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from farm.errors import CheckpointError

_PREFIX = ".farm-staging-"
# Where a file system locks no directories (NFS), age has to tell.
_STALE_AFTER_S = 24 * 3600.0


@contextlib.contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """An empty directory inside ``directory``, gone when the block ends unless it was published."""
    with disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        clear_stale(directory)
        staging, lock = _locked_directory(directory)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            os.close(lock)


def publish(staging: Path, target: Path) -> None:
    """Give a staged directory its name; what has that name already is removed.

    Raises CheckpointError where the disk refuses; then nothing has changed.
    """
    with disk_errors(target.parent):
        staging.chmod(0o755)
        sync(staging)
        if target.exists():
            with staged(target.parent) as aside:
                target.rename(aside / "old")
                staging.rename(target)
        else:
            staging.rename(target)
        sync(target.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the disk has what was written to a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_stale(directory: Path) -> None:
    """Remove the staging directories whose processes are gone."""
    for path in directory.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if _free(lock):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - os.fstat(lock).st_mtime > _STALE_AFTER_S
    return True


def _locked_directory(directory: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(dir=directory, prefix=_PREFIX))
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Somebody who cleared up may have taken it for a dead one's before it was locked.
        if path.is_dir():
            return path, lock
        os.close(lock)


@contextlib.contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """What the system refuses in a directory, as CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{directory}: cannot be written: {error}", fix="Free space on that disk and check its rights"
        ) from error
