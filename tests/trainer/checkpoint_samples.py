"""Checkpoints of small networks with weights drawn from a seed, and a web server that serves them badly."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from trainer.checkpoints.card import Card
from trainer.checkpoints.registry import Registry
from trainer.networks.architectures import new_model


def make_card(config, parent: str | None = None, median_sc: float = 0.5) -> Card:
    return Card(
        parent=parent,
        created="2026-01-01T00:00:00+00:00",
        n_train=7,
        model=config.to_dict(),
        energy_max_ev=20.0,
        base={"n_materials": 7},
        transfer={},
        dataset={"hash": "d"},
        split={"hash": "s"},
        protocol_hashes=("p",),
        metrics={"rpa": {"median_sc": median_sc}},
        held_out=({"material": "Si", "sc": median_sc},),
        software={"torch": "0"},
    )


def write_versions(registry: Registry, config, n_versions: int) -> list[str]:
    """So many versions, each the parent of the next, none of them in use."""
    versions: list[str] = []
    for seed in range(n_versions):
        models = {"ipa": new_model(config, seed), "rpa": new_model(config, seed + 10)}
        versions.append(
            registry.write(models, make_card(config, versions[-1] if versions else None)).version
        )
    return versions


# What a server does with a request instead of serving the file; False: serve it.
Trick = Callable[["Handler"], bool]


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory, lists nothing, and notes what was asked for."""

    def __init__(self, *args, trick: Trick | None, asked: list[str], **options) -> None:
        self.trick, self.asked = trick, asked
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.trick is None or not self.trick(self):
            super().do_GET()

    def list_directory(self, path):  # noqa: ARG002 - the base class's signature
        self.send_error(403, "No listing")

    def answer(self, status: int, data: bytes, **headers: str) -> bool:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked may have had enough
            self.wfile.write(data)
        return True

    def file_bytes(self) -> bytes:
        return Path(self.translate_path(self.path)).read_bytes()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(directory: Path, trick: Trick | None = None) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server on loopback, and the paths that it was asked for."""
    asked: list[str] = []
    handler = partial(Handler, directory=str(directory), trick=trick, asked=asked)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
