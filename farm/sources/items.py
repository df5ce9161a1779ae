"""What a source gives besides crystals: what it had to leave out and why, and what is not parsed yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Rejected:
    """A file or entry that cannot be treated.

    source: the file, with the entry or data block in it
    reason: what is wrong, one clause
    fix:    what to do about it, one sentence without its full stop; the same for all of one kind, so
            that rejections can be counted by it
    """

    source: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Skipped:
    """A crystal that could be treated but was not asked for, or is there already.

    kind: the reason without what is particular to this crystal, to count by; empty: the reason itself
    """

    material: str
    reason: str
    kind: str = field(default="", compare=False)


@dataclass(frozen=True)
class Unparsed:
    """One structure cut out of its file, not understood yet; small, and can go to another process.

    form:        what the content is
    content:     text of a CIF data block or a POSCAR, or a decoded pymatgen Structure dictionary
    source:      the file, with the entry or data block in it
    material_id: the id its source gives it, unchecked
    properties:  what its source says of it
    """

    form: Literal["structure", "cif", "poscar"]
    content: Any
    source: str
    material_id: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
