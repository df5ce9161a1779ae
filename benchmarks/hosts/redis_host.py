"""The Redis of a host: append-only file, and the users of deploy/redis."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from farm.broker import server_program
from hosts.network import Network

_USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl.example"
_PORT = 6379


def start_redis(network: Network, host: str, directory: Path) -> str:
    """Start it there; the URL of the farm's user."""
    directory.mkdir(parents=True)
    password = secrets.token_urlsafe(18)
    users = _USERS.read_text("utf-8").replace("CHANGE-farm", password)
    (directory / "users.acl").write_text(users.replace("CHANGE-admin", secrets.token_urlsafe(18)), "utf-8")
    address = network.address(host)
    directives = {
        "bind": f"{address} 127.0.0.1",
        "port": _PORT,
        "dir": directory,
        "aclfile": directory / "users.acl",
        "appendonly": "yes",
        "save": '""',
    }
    config = directory / "redis.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in directives.items()), "utf-8")
    log = directory / "redis.log"
    network.start(host, [str(server_program()), str(config)], os.environ, log)
    deadline = time.monotonic() + 10
    while "Ready to accept connections" not in log.read_text("utf-8"):
        if time.monotonic() > deadline:
            raise SystemExit(log.read_text("utf-8"))
        time.sleep(0.05)
    return f"redis://farm:{password}@{address}:{_PORT}/0"
