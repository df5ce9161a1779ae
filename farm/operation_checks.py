"""What `farm doctor` asks of how a farm is run: who may reach it, who watches it, who starts its workers.

Nothing here is required: a farm on one machine needs none of it.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from urllib.parse import urlsplit

from farm.checks import Check
from farm.listening import is_loopback
from farm.settings import Settings

# A program, how it is asked for its version, and what it is there for.
_LAUNCHERS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("docker", ("docker", "compose", "version"), "docker compose up"),
    ("sbatch", ("sbatch", "--version"), "deploy/slurm"),
    ("apptainer", ("apptainer", "--version"), "deploy/slurm/farm.def"),
    ("kubectl", ("kubectl", "version", "--client"), "deploy/k8s"),
)
_TIMEOUT_S = 10.0
_TOKENS = ("FARM_DASHBOARD_TOKEN", "FARM_DASHBOARD_VIEW_TOKEN")


def operation_checks(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Redis' access, secrets, the dashboard, and what can start workers elsewhere."""
    env = os.environ if environment is None else environment
    found = [redis_access(settings.redis_url), _secrets(settings), _dashboard(env)]
    found += [_launcher(*launcher) for launcher in _LAUNCHERS]
    return [check for check in found if check is not None]


def redis_access(url: str | None) -> Check | None:
    """Whether a Redis beyond this machine asks for a password, over TLS; pure."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # no URL, as the check of Redis itself says
    if not parts.hostname or is_loopback(parts.hostname):
        return None
    name, place = "Redis access", parts.hostname
    if not parts.password:
        detail, fix = (
            f"{place} asks for no password",
            "Set its users up by deploy/redis, and FARM_REDIS_URL",
        )
    elif parts.scheme != "rediss":
        detail = f"{place}: the password and all jobs pass the network unencrypted"
        fix = "On a network you share with others: TLS by deploy/redis, and rediss:// in FARM_REDIS_URL"
    else:
        return Check(name=name, ok=True, detail=f"{place}: password, TLS", required=False)
    return Check(name=name, ok=False, detail=detail, fix=fix, required=False)


def _secrets(settings: Settings) -> Check | None:
    """Whether others can read a password in farm.toml."""
    path = settings.home / "farm.toml"
    if not path.is_file() or "@" not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        detail = f"{path} holds a password and can be read by others"
        return Check(name="secrets", ok=False, detail=detail, fix=f"chmod 600 {path}", required=False)
    return Check(name="secrets", ok=True, detail=f"{path} is yours alone", required=False)


def _dashboard(environment: Mapping[str, str]) -> Check:
    if missing := [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]:
        detail = f"{' and '.join(missing)} not installed"
        return Check(
            name="dashboard",
            ok=False,
            detail=detail,
            fix="`pip install '.[dashboard]'` where its source is",
            required=False,
        )
    tokens = [name for name in _TOKENS if environment.get(name)]
    said = f"{' and '.join(tokens)} set" if tokens else "without a token: on loopback, read-only"
    detail = f"`farm dashboard`; {said}"
    return Check(name="dashboard", ok=True, detail=detail, required=False)


def _launcher(program: str, command: Sequence[str], use: str) -> Check | None:
    """What a program says of itself; None where it is not there, which is no finding."""
    if shutil.which(program) is None:
        return None
    try:
        said = subprocess.run(  # noqa: S603 - our own argv
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name=program, ok=False, detail=str(error), fix=f"It is for {use}", required=False)
    if said.returncode:
        words = (said.stderr or said.stdout).strip().splitlines()[:1] or ["it said nothing"]
        fix = f"It is for {use}; install it whole or leave it"
        return Check(name=program, ok=False, detail=words[0], fix=fix, required=False)
    return Check(name=program, ok=True, detail=f"{said.stdout.split(chr(10))[0]} ({use})", required=False)
