"""Room on the file systems that a farm writes to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

MB = 2**20


def free_disk_bytes(place: Path) -> int:
    """Free bytes of the file system that ``place`` is on, or will be made on. Raises OSError."""
    return shutil.disk_usage(next(p for p in (place, *place.absolute().parents) if p.exists())).free


def free_disk_told(place: Path) -> dict[str, Any]:
    """What a role says of where it writes: ``free_disk_mb`` and ``writes_to``; nothing where it cannot."""
    try:
        return {"free_disk_mb": free_disk_bytes(place) // MB, "writes_to": str(place)}
    except OSError:
        return {}
