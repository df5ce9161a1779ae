"""A real OPTIMADE server on loopback, with faults in front of it on demand.

    python optimade_app.py ENTRIES.json [PAGE_LIMIT_MAX]

Serves entries (a list of ``id``, ``structure`` as pymatgen has it, and properties under the names below)
by the package ``optimade`` with its in-memory database, under the names of provider ``alexandria``.
Prints `port N` when it listens. Beside OPTIMADE it has:

- POST /faults: what goes wrong with which request for structures, by its number from now on: ``_Faulty``
- GET /requests: the query strings of the requests for structures since then
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import warnings
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_FIELDS = (
    ("band_gap", "float"),
    ("hull_distance", "float"),
    ("space_group", "integer"),
    ("magnetization", "float"),
)


class DroppedError(Exception):
    """The connection shall break."""


class _Faulty:
    """In front of the server. A fault is one of

    {"status": 503, "headers": {...}}   another answer
    {"body": TEXT}                      another body, status 200
    {"drop": N}                         the connection breaks after N bytes of the true body
    {"replace": [OLD, NEW]}             texts in the true body
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._faults: dict[str, dict[str, Any]] = {}
        self._requests: list[str] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/faults":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            self._faults, self._requests = json.loads(body), []
            await _answer(send, 200, b"{}")
        elif scope["path"] == "/requests":
            await _answer(send, 200, json.dumps(self._requests).encode())
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        number = "info"
        if not scope["path"].endswith("/info/structures"):
            self._requests.append(scope["query_string"].decode())
            number = str(len(self._requests))
        fault = self._faults.get(number) or self._faults.get("all", {})
        if "status" in fault:
            await _answer(send, fault["status"], fault.get("body", "").encode(), fault.get("headers", {}))
        elif "body" in fault:
            await _answer(send, 200, fault["body"].encode())
        elif "drop" in fault:
            body = await self._true_body(scope, receive)
            await send({"type": "http.response.start", "status": 200, "headers": _headers(len(body), {})})
            await send({"type": "http.response.body", "body": body[: fault["drop"]], "more_body": True})
            await asyncio.sleep(0)
            raise DroppedError
        elif "replace" in fault:
            old, new = fault["replace"]
            body = await self._true_body(scope, receive)
            await _answer(send, 200, body.replace(old.encode(), new.encode()))
        else:
            await self._app(scope, receive, send)

    async def _true_body(self, scope: Message, receive: Receive) -> bytes:
        body = b""

        async def keep(message: Message) -> None:
            nonlocal body
            body += message.get("body", b"")

        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self._app({**scope, "headers": plain}, receive, keep)
        return body


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    await send(
        {"type": "http.response.start", "status": status, "headers": _headers(len(body), headers or {})}
    )
    await send({"type": "http.response.body", "body": body})


def _headers(n_bytes: int, more: dict[str, str]) -> list[tuple[bytes, bytes]]:
    named = {"content-type": "application/json", "content-length": str(n_bytes), **more}
    return [(name.encode(), value.encode()) for name, value in named.items()]


def _attributes(entry: dict[str, Any]) -> dict[str, Any]:
    from optimade.adapters.structures.pymatgen import from_pymatgen
    from pymatgen.core import Structure

    said = {name: entry[name] for name, _ in _FIELDS if name in entry}
    attributes = json.loads(from_pymatgen(Structure.from_dict(entry["structure"])).model_dump_json())
    return {**attributes, **said, "id": entry["id"], "last_modified": "2026-01-31T00:00:00Z"}


def main() -> None:
    """Serve until killed."""
    warnings.simplefilter("ignore")
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    import uvicorn
    from optimade.server.config import ServerConfig
    from optimade.server.create_app import create_app

    structures = [_attributes(entry) for entry in json.loads(Path(sys.argv[1]).read_text())]
    config = ServerConfig(
        database_backend="mongomock",
        insert_test_data=False,
        insert_from_jsonl=None,
        log_dir=Path(tempfile.gettempdir()),
        provider={"prefix": "alexandria", "name": "Test", "description": "Of tests", "homepage": None},
        provider_fields={
            "structures": [{"name": name, "type": kind, "description": name} for name, kind in _FIELDS]
        },
        validate_api_response=False,
        page_limit_max=most,
    )
    app = create_app(config)
    app.state.entry_collections["structures"].insert(structures)
    listener = socket.create_server(("127.0.0.1", 0))
    print("port", listener.getsockname()[1], flush=True)  # noqa: T201 - whoever started it waits for it
    server = uvicorn.Server(uvicorn.Config(_Faulty(app), log_level="critical", lifespan="off"))
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
