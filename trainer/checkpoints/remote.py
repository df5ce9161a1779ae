"""A directory of files anywhere that fsspec reaches: this machine, a web server, a bucket.

Nothing is listed: a plain web server has no listing, and who may read a bucket may not always list it.
Names are asked for, one file at a time, bounded in size; what passes is tried again from the start.
"""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import fsspec
from fsspec.callbacks import Callback

from farm.errors import CheckpointError, InputError, MissingProgramError
from trainer.checkpoints.remote_failures import Failure, Kind, failure_of

LOGGER = logging.getLogger(__name__)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|:)")
_T = TypeVar("_T")
_PLACES = "Give a directory, http(s)://..., s3://bucket/prefix or another URL of fsspec"
_WEB = ("http", "https")
_BUCKETS = ("s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oss", "memory")

# Bytes of a file so far, and in all where that is known.
ByteProgress = Callable[[int, int | None], None]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for a server.

    attempts:  times that a file is tried
    pause_s:   before the second; it doubles each time
    connect_s: until a connection stands
    read_s:    without a byte on a connection that stands; a large file may take as long as it likes
    """

    attempts: int = 4
    pause_s: float = 1.0
    connect_s: float = 10.0
    read_s: float = 30.0


@dataclass(frozen=True)
class Missing:
    """A file is not there, or nobody may know whether it is; ``reason`` in words."""

    reason: str


class Place:
    """A directory somewhere. ``location``: a path, or a URL of any kind that fsspec knows.

    Raises InputError for a location of no known kind, MissingProgramError where its driver is missing.
    """

    def __init__(self, location: str | Path, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.location = str(location)
        self.protocol = "file"
        if not isinstance(location, Path) and _URL.match(location):
            self.protocol = location.partition(":")[0].lower()
        if self.protocol in ("file", "local"):
            # A path may hold what would mean something in a URL.
            self._root = str(Path(self.location.partition("://")[2] or self.location).absolute())
            self._fs: Any = fsspec.filesystem("file")
            return
        try:
            _ = urlsplit(self.location).port  # raises for what is no number
        except ValueError as error:
            raise InputError(f"not the address of a place: {error}", fix=_PLACES) from error
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.location, **self._options())
        except ImportError as error:
            package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(self.protocol)
            fix = f"`pip install {package}`" if package else str(error)
            raise MissingProgramError(f"{self}: its driver is not installed", fix=fix) from error
        except ValueError as error:
            raise InputError(f"{self}: no place that can be read: {error}", fix=_PLACES) from error

    @property
    def path(self) -> Path | None:
        """Where it is, if it is on this machine."""
        return Path(self._root) if self.protocol in ("file", "local") else None

    def __str__(self) -> str:
        return self.shown()

    def shown(self, name: str = "") -> str:
        """The address of a file for messages: without a password or a signature."""
        if self.path is not None:
            return str(self.path / name)
        # One driver over another: simplecache::https://...
        over = re.match(r"(?:[\w+.-]+::)*", self.location)[0]  # type: ignore[index]  # it always matches
        parts = urlsplit(self.location.removeprefix(over))
        host = parts.netloc.rpartition("@")[2]
        return f"{over}{parts.scheme}://{host}{_joined(parts.path, name)}"

    def fetch(self, name: str, to: Path, *, limit: int, on_bytes: ByteProgress | None = None) -> None:
        """Copy a file of at most ``limit`` bytes. Raises CheckpointError naming its address."""
        found = self._fetch(name, to, limit, on_bytes)
        if isinstance(found, Missing):
            raise CheckpointError(
                f"{self.shown(name)}: {found.reason}",
                fix="It is incomplete there: tell who keeps it, or take another with `farm pull --version`",
            )

    def read(self, name: str, *, limit: int) -> bytes | Missing:
        """The bytes of a small file. Raises CheckpointError for all but its absence."""
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory, "copy")
            found = self._fetch(name, copy, limit, None)
            return found if isinstance(found, Missing) else copy.read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """Write a whole file, in one step where the place knows such. Raises CheckpointError."""
        address = self._address(name)

        def put() -> None:
            if self.protocol not in _BUCKETS:
                self._fs.makedirs(address.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(address, data)

        found = self._tried(name, put)
        if isinstance(found, Failure):
            raise CheckpointError(f"{self.shown(name)}: cannot be written: {found.reason}", fix=found.fix)

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where it is not there. Raises CheckpointError."""
        found = self._tried(name, lambda: self._fs.info(self._address(name)).get("size"))
        if isinstance(found, Failure):
            if found.kind is Kind.MISSING:
                return None
            raise CheckpointError(f"{self.shown(name)}: {found.reason}", fix=found.fix)
        return None if found is None else int(found)

    def _fetch(self, name: str, to: Path, limit: int, on_bytes: ByteProgress | None) -> Missing | None:
        address = self._address(name)
        # The driver of the local disk tells nobody how far it is.
        local = None if self.path is None else self.path / name

        def get() -> None:
            meter = _Meter(self.shown(name), limit, on_bytes)
            if local is not None:
                if local.is_dir():
                    raise IsADirectoryError(local)
                meter.set_size(local.stat().st_size)
            self._fs.get_file(address, str(to), callback=meter)
            meter.absolute_update(to.stat().st_size)

        found = self._tried(name, get)
        if not isinstance(found, Failure):
            return None
        if found.kind is Kind.MISSING:
            return Missing(found.reason)
        raise CheckpointError(f"{self.shown(name)}: {found.reason}", fix=found.fix)

    def _tried(self, name: str, action: Callable[[], _T]) -> _T | Failure:
        """The action's result, or why the last attempt had none."""
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return action()
            except CheckpointError:
                raise
            except Exception as error:  # noqa: BLE001 - a driver raises what its libraries do
                failure = failure_of(error, self.patience.read_s)
            if failure.kind is not Kind.PASSING or attempt == self.patience.attempts:
                break
            LOGGER.info("%s: %s; again", self.shown(name), failure.reason)
            time.sleep(self.patience.pause_s * 2 ** (attempt - 1))
        return failure

    def _address(self, name: str) -> str:
        if self.protocol in _WEB:
            parts = urlsplit(str(self._root))
            return urlunsplit((parts.scheme, parts.netloc, _joined(parts.path, name), parts.query, ""))
        return _joined(str(self._root), name)

    def _options(self) -> dict[str, Any]:
        """Of the driver; those of other services come from its own environment variables."""
        options: dict[str, Any] = {"skip_instance_cache": True}
        wait = self.patience
        if self.protocol in _WEB:
            from aiohttp import ClientTimeout

            timeout = ClientTimeout(total=None, sock_connect=wait.connect_s, sock_read=wait.read_s)
            return {**options, "client_kwargs": {"timeout": timeout, "trust_env": True}}
        if self.protocol in ("s3", "s3a"):
            timeouts = {"connect_timeout": wait.connect_s, "read_timeout": wait.read_s}
            return {**options, "use_listings_cache": False, "config_kwargs": timeouts}
        return options


def _joined(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}" if name else path


class _Meter(Callback):  # type: ignore[misc]  # fsspec is untyped
    """Counts what arrives and ends it when it is too much."""

    def __init__(self, shown: str, limit: int, on_bytes: ByteProgress | None) -> None:
        super().__init__()
        self._shown, self._limit, self._on_bytes = shown, limit, on_bytes

    def set_size(self, size: int | None) -> None:
        super().set_size(size)
        self._require(size or 0)

    def call(self, *_: Any, **__: Any) -> None:
        self._require(self.value)
        if self._on_bytes is not None:
            self._on_bytes(self.value, self.size)

    def _require(self, n_bytes: int) -> None:
        if n_bytes > self._limit:
            raise CheckpointError(
                f"{self._shown}: larger than the {self._limit / 1e6:.0f} MB that such a file may have"
            )
