"""A file that appears complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.errors import StoreError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what shall stand at ``path`` when the block ends well; else nothing is left.

    Raises StoreError for what the system refuses.
    """
    if path.exists() and not path.is_file():
        # A pipe or a device would be replaced by a file.
        what = "a directory" if path.is_dir() else "not a regular file"
        raise StoreError(f"{path}: {what}", fix="Choose another name")
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        raise StoreError(
            f"{path}: {error.strerror or error}",
            fix="Choose a place that can be written, with enough space",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
