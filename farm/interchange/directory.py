"""A store as a directory of entries in the published format, one file a material."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson

from farm.errors import InputError, StoreError
from farm.interchange.own_entry import own_entry_of
from farm.interchange.published_entry import is_published, published_entry_of
from farm.result import Result
from farm.store import Store, StoredRow


def export_directory(
    store: Store,
    rows: Sequence[StoredRow],
    directory: Path,
    told_of: Callable[[int], None] = lambda _: None,
) -> None:
    """Write ``<material id>.json`` for each row; files of other names are not touched.

    Each file appears complete or not at all; what stood there under its name is replaced.

    Raises InputError where a material has more than one row, before anything is written, and StoreError
    where the directory cannot be written.
    """
    _check_one_each(rows)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for row in rows:
            path = directory / f"{row.material_id}.json"
            _put(path, entry_text(store.result(row.index)))
            told_of(1)
    except OSError as error:
        raise StoreError(
            f"{error.filename or directory}: {error.strerror or error}",
            fix="Choose a place that can be written, with enough space",
        ) from error


def entry_text(result: Result) -> bytes:
    """The entry of a result as JSON: as it came, where it was imported, else as :mod:`own_entry` says."""
    entry = published_entry_of(result) if is_published(result) else own_entry_of(result)
    if "not_finite" not in result.origin:
        try:
            return orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:
            pass  # a whole number of more than 64 bits
    # As the published files have it: Python's JSON knows NaN, and no other does.
    return json.dumps(entry, default=np.ndarray.tolist).encode()


def _check_one_each(rows: Sequence[StoredRow]) -> None:
    counts = Counter(row.material_id for row in rows)
    name = next((name for name, n in counts.items() if n > 1), None)
    if name is not None:
        several = ", ".join(
            f"{row.engine.value} {row.protocol_hash[:8]}" for row in rows if row.material_id == name
        )
        raise InputError(
            f"{name} has several results ({several}), and a directory holds one file a material",
            fix="Choose with --engine, --protocol-hash or --rung",
        )


def _put(path: Path, content: bytes) -> None:
    # Not forced to the disk one by one: after a power cut the export is made again.
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
