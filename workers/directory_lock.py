"""The lock of a directory that workers enter and remove: of one host, or of those that share its disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

_LOCK = ".lock"
# How often in a row a directory may be removed just when it is entered.
_MAX_REMOVALS = 5


def make_and_lock(directory: Path) -> int | None:
    """The same as ``try_lock``, of a directory that somebody may be about to remove."""
    for _ in range(_MAX_REMOVALS):
        with contextlib.suppress(FileNotFoundError):
            directory.mkdir(parents=True, exist_ok=True)
            return try_lock(directory)
    return None


def try_lock(directory: Path) -> int | None:
    """The lock of a directory; None when somebody else has it.

    Raises FileNotFoundError when the directory has just been removed, and OSError.
    """
    path = directory / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever removed the directory may have let go of it between the two lines above.
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise FileNotFoundError(errno.ENOENT, "removed", str(path))
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock


def remove_locked(directory: Path) -> None:
    """Delete a directory whose lock is held. The lock goes last: nobody enters what is half removed."""
    with contextlib.suppress(OSError):
        for path in list(directory.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (directory / _LOCK).unlink(missing_ok=True)
        directory.rmdir()


def unlock(directory: Path, lock: int) -> None:
    os.close(lock)
    # NFS keeps a file that is open under another name, in the directory.
    with contextlib.suppress(OSError):
        directory.rmdir()
