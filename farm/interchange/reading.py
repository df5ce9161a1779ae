"""Files of entries -> results, one file at a time so that other processes can do it; nothing raises.

What a file holds is known only when it is read: one entry, a list of them, or ``{"entries": [...]}``. Small
ones are read whole, which is five times faster; of larger ones an entry at a time is in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from farm.errors import InputError
from farm.interchange.cells import material_id_of
from farm.interchange.entry_files import unreadable
from farm.interchange.own_entry import is_own, result_of_own
from farm.interchange.published_entry import result_of_published
from farm.interchange.terms import Terms
from farm.job import Engine, Outcome
from farm.result import Result
from farm.sources.items import Rejected
from farm.sources.json_files import json_entries, what_is_broken
from farm.sources.opening import DAMAGED, Meter, brief, open_bytes

_MOST_BYTES_AT_ONCE = 32 << 20


@dataclass(frozen=True)
class Candidate:
    """A result that came out of a file and is not in the store yet.

    source: the file, with the number of the entry where it has several
    packed: the result as it travels
    digest: of all that the entry says
    """

    source: str
    material: str
    formula: str
    protocol_hash: str
    engine: Engine
    outcome: Outcome
    packed: bytes
    digest: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What the store takes for one and the same: (material id, protocol hash, engine)."""
        return self.material, self.protocol_hash, self.engine.value


Answer = Candidate | Rejected


@dataclass(frozen=True)
class FileRead:
    """One file.

    n_bytes: its size on the disk
    answers: what it holds; None: it is too large to be read whole, see :func:`read_large`
    """

    path: Path
    n_bytes: int
    answers: list[Answer] | None


def read_files(paths: Iterable[Path | Rejected], terms: Terms) -> list[FileRead]:
    """What small files hold, in their order."""
    return [
        FileRead(Path(path.source), 0, [path]) if isinstance(path, Rejected) else _read_file(path, terms)
        for path in paths
    ]


def read_large(path: Path, terms: Terms) -> Iterator[Answer]:
    """What a large file holds, one entry after the other."""
    number = 0
    try:
        for number, entry in enumerate(json_entries(path, Meter()), start=1):
            yield entry if isinstance(entry, Rejected) else _candidate(entry, terms, path, number)
    except OSError as error:
        yield unreadable(path, error)


def _read_file(path: Path, terms: Terms) -> FileRead:
    n_bytes = 0
    try:
        if not path.is_file():
            # Reading a pipe or a device would wait for ever.
            answers: list[Answer] | None = [
                Rejected(str(path), "not a regular file", "Copy its content to a file")
            ]
        else:
            n_bytes = path.stat().st_size
            answers = _read_whole(path, terms)
    except OSError as error:
        answers = [unreadable(path, error)]
    except (ValueError, RecursionError, *DAMAGED) as error:
        answers = [Rejected(str(path), what_is_broken(error, path), "Get the file again")]
    return FileRead(path, n_bytes, answers)


def _read_whole(path: Path, terms: Terms) -> list[Answer] | None:
    with open_bytes(path) as stream:
        content = stream.read(_MOST_BYTES_AT_ONCE + 1)
    if len(content) > _MOST_BYTES_AT_ONCE:
        return None
    document = _decoded(content)
    if isinstance(document, dict) and isinstance(document.get("entries"), list):
        document = document["entries"]
    if not isinstance(document, list):
        return [_candidate(document, terms, path, None)]
    if not document:
        return [Rejected(str(path), "no entries", "Give an entry or a list of them")]
    return [_candidate(entry, terms, path, number) for number, entry in enumerate(document, start=1)]


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # NaN, which stands for metals, a mark before the text, or broken: this one says what.
        return json.loads(content.decode("utf-8-sig"))


def _candidate(entry: Any, terms: Terms, path: Path, number: int | None) -> Answer:
    source = str(path) if number is None else f"{path}, entry {number}"
    if not isinstance(entry, dict):
        return Rejected(source, "not an object", "Give entries as the published database has them")
    try:
        material_id = material_id_of(entry)
        if number is not None:
            source = f"{path}, {material_id}"
        if is_own(entry["data"]):
            result = result_of_own(entry, material_id)
        else:
            result = result_of_published(entry, terms, material_id, path.name)
        packed = result.pack()
    except InputError as error:
        return Rejected(source, error.message, error.fix or "Check the field")
    except (RecursionError, TypeError, ValueError, OverflowError) as error:
        # Whatever else strangers write into JSON: their file is named, and the next one follows.
        return Rejected(source, f"cannot be understood: {brief(error)}", "Get the file again")
    return Candidate(
        source=source,
        material=material_id,
        formula=result.crystal.formula,
        protocol_hash=result.protocol_hash,
        engine=result.engine,
        outcome=result.outcome,
        packed=packed,
        digest=_digest(result, packed),
    )


def _digest(result: Result, packed: bytes) -> str:
    known = digest_in(result.origin)
    return known or hashlib.blake2b(packed, digest_size=16).hexdigest()


def digest_in(origin: Mapping[str, Any]) -> str | None:
    """The digest of the entry that a stored result came from; None where it was computed."""
    digest = origin.get("digest")
    return digest if isinstance(digest, str) else None
