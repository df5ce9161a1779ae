"""What an exception of a remote driver means: the file is missing, it may pass, or it will not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

_LONGEST_REASON = 200


class Kind(Enum):
    """What can be done about it."""

    MISSING = auto()  # not there, or not allowed to know: another name may be
    PASSING = auto()  # the network or the server, now
    FINAL = auto()


@dataclass(frozen=True)
class Failure:
    """Why there is no file, in words."""

    kind: Kind
    reason: str
    fix: str = ""


def failure_of(error: Exception, read_s: float) -> Failure:
    """Judge what aiohttp, botocore, the system or another driver of fsspec raised."""
    match error:
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError() | FileExistsError():
            # The last of a place without directories: what stands for one is a file.
            return Failure(Kind.MISSING, "not found")
        case PermissionError():
            return Failure(Kind.MISSING, "access denied", "Check the credentials of that place")
        case TimeoutError():
            return Failure(Kind.PASSING, f"no answer within {read_s:g} s", _REACH)
    name = type(error).__name__
    if name == "TooManyRedirects":
        return Failure(Kind.FINAL, "redirects without end", "Give the address that it should lead to")
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return _of_status(status, str(getattr(error, "message", "")))
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return Failure(
            Kind.FINAL,
            "no credentials",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true for a public bucket",
        )
    # aiohttp wraps what the system said.
    inner = getattr(error, "os_error", None) or error
    reason = getattr(inner, "strerror", None) or str(inner) or name
    reason = " ".join(str(reason).split())[:_LONGEST_REASON]
    if name in ("ClientPayloadError", "ServerDisconnectedError"):
        return Failure(Kind.PASSING, "the connection broke off", _REACH)
    kind = Kind.PASSING if isinstance(error, OSError) else Kind.FINAL
    return Failure(kind, f"cannot be reached: {reason}", _REACH)


_REACH = "Check the address, the network and that its server runs"


def _of_status(status: int, message: str) -> Failure:
    reason = " ".join(f"the server answers {status} {message}".split())[:_LONGEST_REASON]
    if status in (401, 403, 404, 410):
        return Failure(Kind.MISSING, reason)
    passing = status in (408, 425, 429) or status >= 500
    return Failure(Kind.PASSING if passing else Kind.FINAL, reason)
