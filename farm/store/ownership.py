"""One writer a store, on this host and on any other that shares the directory.

On one host the kernel's lock on ``<store>.lock`` decides, and is given back however a process ends. Between
hosts such locks hold on some network file systems and on others not. So the owner leaves a note,
``<store>.owner``, and touches it every few seconds: who finds the note of another kernel watches it, and
takes over only if it lies untouched for the whole lease. No clock is compared with another. An owner that
was away for longer, and wakes up, finds that the note is no longer its own before it writes again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from farm.errors import StoreError, StoreLockedError

TOUCH_S = 3.0
LEASE_S = 15.0
_POLL_S = 0.5
# Of two that take over at the same moment, the one whose note is left after this has won.
_SETTLE_S = 1.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Note:
    """Who writes to a store.

    boot:  of the kernel the process runs on; containers of one host have the same
    token: by chance, so that no two notes are alike
    """

    host: str
    pid: int
    boot: str
    token: str


class Ownership:
    """The right to write to the store at ``path``, from now until :meth:`release`.

    Waits up to LEASE_S if another host that has gone left its note. Raises StoreLockedError if another
    process has the right, and StoreError where the directory cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".owner")
        self._note = Note(socket.gethostname(), os.getpid(), kernel_id(), secrets.token_hex(8))
        self._released = threading.Event()
        self._follows_killed = False
        self._lock = _kernel_lock(path)
        try:
            self._take(path)
        except BaseException:
            self._lock.close()
            raise
        threading.Thread(target=self._keep, name="store owner", daemon=True).start()

    @property
    def is_released(self) -> bool:
        """Whether it was given back."""
        return self._released.is_set()

    @property
    def follows_killed(self) -> bool:
        """Whether the owner before was killed on this kernel: all that it wrote is there to be read."""
        return self._follows_killed

    def check(self) -> None:
        """Raise StoreLockedError if another host has taken over meanwhile."""
        found = read_note(self._path)
        if found != self._note:
            raise StoreLockedError(
                f"{self._path}: {_told(found)} took over: this process was away for {LEASE_S:g} s or more",
                fix="Stop one of the two writers, and start this one again",
            )

    def release(self) -> None:
        """Give it back; again is allowed."""
        if self._released.is_set():
            return
        self._released.set()
        if read_note(self._path) == self._note:
            with suppress(OSError):
                self._path.unlink()
        self._lock.close()

    def _take(self, store: Path) -> None:
        found = read_note(self._path)
        gone = found is not None and found.boot == self._note.boot  # the kernel's lock says so
        self._follows_killed = gone
        if found is not None and not gone:
            self._watch(store, found)
        # Of one kernel only who holds its lock writes this: what a kill left is written over by the next.
        mine = self._path.with_name(f"{self._path.name}.{self._note.boot}")
        try:
            mine.write_text(json.dumps(asdict(self._note)), encoding="utf-8")
            os.replace(mine, self._path)
        except OSError as error:
            raise StoreError(f"{mine}: {error}", fix="Choose a directory that can be written") from error
        if not gone:
            time.sleep(_SETTLE_S if found is not None else 0.0)
            if (now := read_note(self._path)) != self._note:
                raise _locked(store, now)

    def _watch(self, store: Path, found: Note) -> None:
        """Return when the note has lain untouched for the lease, or has gone."""
        seen, until = _stamp(self._path), time.monotonic() + LEASE_S
        while time.monotonic() < until:
            time.sleep(_POLL_S)
            now = _stamp(self._path)
            if now is None:
                return
            if now != seen:
                raise _locked(store, read_note(self._path) or found)

    def _keep(self) -> None:
        while not self._released.wait(TOUCH_S):
            with suppress(OSError):  # the next write finds out
                os.utime(self._path)


def read_note(path: Path) -> Note | None:
    """The note at ``path``; None where there is none, or one that says nothing."""
    try:
        return Note(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def kernel_id() -> str:
    """The same for all processes that share a kernel, and another after each start of it."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # no Linux: a host name is the best there is
        return socket.gethostname()


def _kernel_lock(path: Path) -> IO[str]:
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(lock_path, "a+", encoding="ascii")  # noqa: SIM115 - held until it is released
    except OSError as error:
        raise StoreError(f"{lock_path}: {error}", fix="Choose a directory that can be written") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise StoreError(f"{lock_path}: {error}", fix="Use a file system with file locks") from error
        raise _locked(path, read_note(path.with_name(path.name + ".owner"))) from error
    return handle


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _locked(store: Path, owner: Note | None) -> StoreLockedError:
    return StoreLockedError(
        f"{store}: {_told(owner)} is writing to this store", fix="One writer a store: stop that one"
    )


def _told(owner: Note | None) -> str:
    if owner is None:
        return "another process"
    where = "" if owner.boot == kernel_id() else f" on {owner.host}"
    return f"process {owner.pid}{where}"
