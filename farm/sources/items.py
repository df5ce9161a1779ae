"""What a source gives besides crystals: what it had to leave out, and why."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejected:
    """A file or entry that cannot be treated.

    source: the file, with the entry or data block in it
    reason: what is wrong, one clause
    fix:    what to do about it, one sentence without its full stop
    """

    source: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Skipped:
    """A crystal that could be treated but was not asked for, or is there already."""

    material: str
    reason: str
