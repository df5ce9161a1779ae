"""Hosts as network namespaces on one switch, whose links can be taken down."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_SWITCH = "farm-switch"
_BRIDGE = "br0"
_STOP_WITHIN_S = 20.0


class NotPossibleError(Exception):
    """This machine lets nobody make network namespaces."""


class Network:
    """Use as a context: on leaving it all processes of all hosts are killed and the namespaces removed."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = list(hosts)
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Network:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise NotPossibleError("network namespaces need root and `ip` (iproute2)")
        self._remove()
        try:
            self._build()
        except subprocess.CalledProcessError as error:
            self._remove()
            raise NotPossibleError(f"network namespaces: {error.stderr.decode().strip()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self._hosts:
            for pid in self.pids(host):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._running:
            process.wait()
        self._remove()

    def address(self, host: str) -> str:
        """Its IP address."""
        return f"10.77.0.{self._hosts.index(host) + 1}"

    def start(self, host: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """A process that stays."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                self._on(host, command),
                env=dict(environment),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        self._running.append(process)

    def run(self, host: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
        """A process that ends; its standard output."""
        done = subprocess.run(
            self._on(host, command), env=dict(environment), capture_output=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{host}: {' '.join(command)}: {done.stderr.decode()}")
        return done.stdout.decode()

    def cut(self, host: str) -> None:
        """Its link goes down: what is sent is lost without a word."""
        _ip("-n", _SWITCH, "link", "set", f"to-{host}", "down")

    def heal(self, host: str) -> None:
        """Its link comes up again."""
        _ip("-n", _SWITCH, "link", "set", f"to-{host}", "up")

    def pids(self, host: str) -> list[int]:
        """What runs there."""
        listed = subprocess.run(["ip", "netns", "pids", _name(host)], capture_output=True, check=False)
        return [int(pid) for pid in listed.stdout.split()]

    def stop(self) -> list[str]:
        """SIGTERM to every role; what runs on afterwards on hosts without a server of their own."""
        for process in self._running[1:]:
            process.terminate()
        deadline = time.monotonic() + _STOP_WITHIN_S
        for process in self._running[1:]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        server = self._running[0].pid
        left = [(host, pid) for host in self._hosts for pid in self.pids(host) if pid != server]
        return [f"{host}: {Path(f'/proc/{pid}/cmdline').read_text('utf-8')}" for host, pid in left]

    def _on(self, host: str, command: Sequence[str]) -> list[str]:
        # The host's name is part of the names of workers, and of the note of who owns a store.
        named = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", _name(host), "unshare", "--uts", "sh", "-c", named, host, *command]

    def _build(self) -> None:
        _ip("netns", "add", _SWITCH)
        _ip("-n", _SWITCH, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", _SWITCH, "link", "set", _BRIDGE, "up")
        for host in self._hosts:
            name, port = _name(host), f"to-{host}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", _SWITCH)
            _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", _SWITCH, "link", "set", port, "master", _BRIDGE, "up")

    def _remove(self) -> None:
        for name in (*map(_name, self._hosts), _SWITCH):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _name(host: str) -> str:
    return f"farm-{host}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
