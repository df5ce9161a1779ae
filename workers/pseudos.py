"""The pseudopotential files of a crystal, checked byte for byte before anything runs.

pw.x falls back silently to a system-wide directory when a file is missing, and runs without a word
with the file of another element of the same valence: names alone are not evidence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from farm.errors import MissingProgramError
from farm.pseudopotentials import SET_NAME, entry


def checked_pseudopotential(element: str, pseudo_dir: Path) -> Path:
    """The file of one element.

    Raises CrystalError where the set has none, MissingProgramError where the file is absent or altered.
    """
    expected = entry(element)
    path = pseudo_dir / expected.file
    fix = f"Install {SET_NAME} and set FARM_PSEUDO_DIR to its folder"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingProgramError(f"pseudopotential {path} cannot be read", fix=fix) from error
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise MissingProgramError(f"pseudopotential {path} is not the published file", fix=fix)
    return path


def checked_pseudopotentials(elements: Iterable[str], pseudo_dir: Path) -> Mapping[str, str]:
    """Element -> file name for each element, all checked. Raises as the one-element form."""
    return {element: checked_pseudopotential(element, pseudo_dir).name for element in sorted(elements)}
