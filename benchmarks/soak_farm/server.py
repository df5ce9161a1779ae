"""The Redis of benchmarks/soak.py: append-only file, killed with -9 and started again on its data."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from pathlib import Path

import redis

from farm.broker import server_program

_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class SoakRedis:
    """A server on a port of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        password = secrets.token_urlsafe(12)
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self._log = directory / "redis.log"
        self._config = directory / "redis.conf"
        self._config.write_text(_CONFIG.format(port=port, password=password, directory=directory), "utf-8")
        self.start()

    def start(self) -> None:
        """Returns when it has read its data and answers."""
        with self._log.open("ab") as log:
            command = [str(server_program()), str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.exceptions.ConnectionError:
                    if self._process.poll() is not None:
                        said = self._log.read_text("utf-8")[-500:]
                        raise SystemExit(f"Redis does not start: {said}") from None
                    time.sleep(0.02)

    def kill(self) -> None:
        """As if its machine went away."""
        self._process.kill()
        self._process.wait()
