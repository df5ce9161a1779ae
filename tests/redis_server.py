"""A Redis server of a test's own: started, killed with -9, and started again on its port and its data."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from farm.broker import server_program

_PASSWORD = "of-the-tests"  # noqa: S105 - of a server on loopback that lives for a test
_STARTS_WITHIN_S = 10.0


class RedisServer:
    """Listens on loopback; ``options`` are directives of redis.conf."""

    def __init__(self, directory: Path, program: Path | None = None, **options: str) -> None:
        self._directory = directory
        self._program = program or server_program()
        self.port = free_port()
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": '""',
            "requirepass": _PASSWORD,
        }
        self._options["dir"] = f'"{directory}"'
        self._options |= {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For the user that may do everything."""
        return f"redis://:{_PASSWORD}@127.0.0.1:{self.port}/0"

    def admin(self) -> redis.Redis:
        """A connection that may do everything."""
        return redis.Redis(port=self.port, password=_PASSWORD)

    def as_user(self, name: str) -> redis.Redis:
        """A connection of a user whose password is his name."""
        return redis.Redis(port=self.port, username=name, password=name)

    def start(self) -> None:
        """Returns when it answers and has read its data."""
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "redis.conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in self._options.items()), "utf-8")
        with (self._directory / "redis.log").open("ab") as log:
            command = [str(self._program), str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _STARTS_WITHIN_S
        with self.admin() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.exceptions.ConnectionError:
                    said = (self._directory / "redis.log").read_text(encoding="utf-8", errors="replace")
                    assert self._process.poll() is None, said
                    assert time.monotonic() < deadline, said
                    time.sleep(0.01)

    def kill(self) -> None:
        """As if the machine went away."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order; nothing happens when it does not run."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=10)
            self._process = None


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
