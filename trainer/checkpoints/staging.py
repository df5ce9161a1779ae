"""Directories that appear whole or not at all: filled beside, flushed to the disk, then renamed.

What a process left that was killed meanwhile stays behind as ``.farm-staging-*`` until the next one comes:
the kernel lets go of a dead process's lock, and what nobody locks is nobody's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
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


def publish(staging: Path, target: Path, *, is_whole: Callable[[], bool] = lambda: False) -> None:
    """Give a staged directory its name; what has that name already is removed, unless ``is_whole()``.

    Raises CheckpointError where the disk refuses; then nothing has changed.
    """
    with disk_errors(target.parent):
        staging.chmod(0o755)
        sync(staging)
        while not _renamed(staging, target):
            if is_whole():
                return
            # Somebody else may have done so meanwhile, and come again too.
            with staged(target.parent) as aside, contextlib.suppress(FileNotFoundError):
                target.rename(aside / "old")
        sync(target.parent)


def _renamed(staging: Path, target: Path) -> bool:
    """False where a directory with something in it has that name."""
    try:
        staging.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


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
                is_old = time.time() - os.fstat(lock).st_mtime > _STALE_AFTER_S
                if _free(lock, or_else=is_old):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _free(lock: int, *, or_else: bool) -> bool:
    """Whether a directory was nobody's and is locked now; ``or_else``: where there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return or_else
    return True


def _locked_directory(directory: Path) -> tuple[Path, int]:
    # Somebody who clears up may take it for a dead one's before it is locked; then there is another.
    while True:
        path = Path(tempfile.mkdtemp(dir=directory, prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if _free(lock, or_else=True) and path.is_dir():
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
