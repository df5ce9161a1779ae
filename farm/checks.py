"""What `farm doctor` asks: one line a program, file or service, with the command that mends it.

Other packages join by the entry point group ``farm.checks``: a function without arguments that
returns a list of :class:`Check`. Who can compute a job joins by ``farm.toy_runs``: a function of a
job, a scratch directory and a callback for progress that returns such a list, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.broker import broker_url, connect, server_program
from farm.errors import FarmError
from farm.free_disk import free_disk_bytes
from farm.settings import Settings

_LOW_DISK_GB = 5.0


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding.

    detail:   version and place, or what is wrong
    fix:      what to type, when not ok
    required: the farm cannot work without it
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


def own_checks(settings: Settings) -> list[Check]:
    """Settings, Redis, disk."""
    return [_check_redis(settings), _check_disk(settings)]


def _check_redis(settings: Settings) -> Check:
    try:
        with broker_url(settings) as url:
            version = connect(url).info("server")["redis_version"]
        where = "configured" if settings.redis_url else f"embedded, {server_program()}"
    except FarmError as error:
        return Check(name="Redis", ok=False, detail=error.message, fix=error.fix)
    return Check(name="Redis", ok=True, detail=f"{version} ({where})")


def _check_disk(settings: Settings) -> Check:
    free_gb = free_disk_bytes(settings.home) / 1e9
    detail = f"{free_gb:.0f} GB free for {settings.home}"
    ok = free_gb > _LOW_DISK_GB
    return Check(name="disk", ok=ok, detail=detail, fix="" if ok else "Free some space or move FARM_HOME")
