"""A real OPTIMADE server in a process of its own, for a test or a benchmark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

_APP = Path(__file__).with_name("optimade_app.py")


class OptimadeServer:
    """Serves entries on loopback until its end; see ``optimade_app.py``."""

    def __init__(self, directory: Path, entries: list[dict[str, Any]], most: int = 500) -> None:
        data = directory / "entries.json"
        data.write_text(json.dumps(entries))
        self._process = subprocess.Popen(
            [sys.executable, str(_APP), str(data), str(most)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # A file of settings of whoever runs this is not ours.
            env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(directory)},
        )
        assert self._process.stdout is not None
        lines = (line.split() for line in self._process.stdout)
        port = next((words[1] for words in lines if words[:1] == ["port"]), None)
        assert port is not None, "the server did not start"
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def fail(self, faults: dict[str, dict[str, Any]]) -> None:
        """What goes wrong with which request for structures from now on: ``"1"``, ..., ``"all"``."""
        request = urllib.request.Request(f"{self.url}/faults", json.dumps(faults).encode())  # noqa: S310
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    def requests(self) -> list[str]:
        """The query strings of the requests for structures since then."""
        with urllib.request.urlopen(f"{self.url}/requests", timeout=10) as answer:  # noqa: S310
            found: list[str] = json.load(answer)
        return found
