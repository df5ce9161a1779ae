"""The checkpoints of a farm as their cards and their history tell: read as JSON, without the network.

Only names that stand in a directory listing and in a card lead to files; nothing of an address does.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from farm.errors import CheckpointError
from farm.median_interval import median_interval

CARD = "card.json"
LATEST = "latest"
_VERSION = re.compile(r"[0-9]{4,9}-[0-9a-f]{6}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
# Of the intervals that are told about.
_LEVEL = 0.8
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Larger than any number of a card; of integers beyond it Python makes no float.
_LARGEST = 1e9
# What reading a file raises that is not as it should be: it may come from elsewhere.
_UNREADABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One material that was held out, the calculated IPA taken for RPA beside the model."""

    material: str
    formula: str
    sc: float
    sc_ipa_as_rpa: float


@dataclass(frozen=True, kw_only=True)
class Version:
    """One checkpoint; None for what its card does not say.

    n_train:    RPA spectra it has learnt from
    median_sc:  on the materials held out when it was fitted; ``interval`` holds 95 %
    ipa_as_rpa: the same of the calculated IPA spectra taken for RPA: the mark to beat
    files:      SHA-256 of each file beside the card
    facts:      what else the card says, in words
    """

    name: str
    created: str
    parent: str | None
    n_train: int | None
    n_held_out: int
    median_sc: float | None
    interval: tuple[float, float] | None
    ipa_as_rpa: float | None
    files: Mapping[str, str]
    facts: tuple[tuple[str, str], ...] = ()
    held_out: tuple[HeldOut, ...] = ()

    @property
    def number(self) -> int:
        """The first part of its name."""
        return int(self.name.partition("-")[0])


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One line of the history: what happened to a version, why, and by which numbers."""

    time: str
    event: str
    version: str
    origin: str
    why: str
    median_sc: float | None = None
    before: float | None = None
    p_worse: float | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """All there is, versions and history oldest first.

    latest:   the version in use; empty where there is none
    damaged:  versions whose card cannot be read, each with the reason
    """

    versions: tuple[Version, ...] = ()
    latest: str = ""
    history: tuple[Decision, ...] = ()
    damaged: tuple[str, ...] = field(default=())

    @property
    def in_use(self) -> Version | None:
        """The version in use, where its card can be read."""
        return next((version for version in self.versions if version.name == self.latest), None)

    def last_decision(self, version: str) -> Decision | None:
        """What was last decided of a version."""
        return next((line for line in reversed(self.history) if line.version == version), None)


def read_checkpoints(directory: Path) -> Checkpoints:
    """What is there now; cards that were read before are not read again."""
    versions, damaged = [], []
    try:
        names = version_names(directory)
    except CheckpointError as error:
        return Checkpoints(damaged=(str(error),))
    for name in names:
        try:
            versions.append(_read_version(directory, name))
        except CheckpointError as error:
            damaged.append(str(error))
    return Checkpoints(
        versions=tuple(versions),
        latest=latest_name(directory),
        history=read_history(directory / "history.jsonl"),
        damaged=tuple(damaged),
    )


def version_names(directory: Path) -> list[str]:
    """Versions present, oldest first. Raises CheckpointError where that cannot be seen."""
    if not directory.is_dir():
        return []
    try:
        found = [path.name for path in directory.iterdir() if _VERSION.fullmatch(path.name)]
        there = [name for name in found if (directory / name / CARD).is_file()]
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be read: {error.strerror}") from error
    return sorted(there, key=lambda name: (int(name.partition("-")[0]), name))


def latest_name(directory: Path) -> str:
    """The version that ``latest`` points to; empty where it points to none."""
    try:
        name = os.readlink(directory / LATEST)
    except OSError:
        return ""
    return name if name in version_names(directory) else ""


def checkpoint_file(directory: Path, version: str, name: str) -> Path | None:
    """A file of a version, or of ``latest``; None for a name that its card does not list."""
    if version == LATEST:
        version = latest_name(directory)
    if version not in version_names(directory):
        return None
    path = directory / version / CARD
    if name != CARD:
        if name not in _read_version(directory, version).files:
            return None
        path = directory / version / name
    # A card that came from elsewhere names files beside it, never what a link leads to.
    return path if path.is_file() and not path.is_symlink() else None


def read_history(path: Path) -> tuple[Decision, ...]:
    """Every line that can be read, oldest first."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    parsed = [_decision(line) for line in lines if line.strip()]
    return tuple(line for line in parsed if line is not None)


def _decision(line: str) -> Decision | None:
    try:
        data = json.loads(line)
        numbers = data.get("numbers") or {}
        return Decision(
            time=str(data["time"])[:16].replace("T", " "),
            event=str(data["event"]),
            version=str(data["version"]),
            origin=str(data.get("from") or ""),
            why=str(data.get("why", "")),
            **{name: _number(numbers.get(name)) for name in ("median_sc", "before", "p_worse")},
        )
    except _UNREADABLE:
        return None


def _read_version(directory: Path, name: str) -> Version:
    path = directory / name / CARD
    try:
        status = path.stat()
        return _parsed(path, name, status.st_mtime_ns, status.st_size)
    except _UNREADABLE as error:
        raise CheckpointError(f"{name}: its card cannot be read: {error!r:.200}") from error


@lru_cache(maxsize=512)
def _parsed(path: Path, name: str, _changed_ns: int, _size: int) -> Version:
    card = json.loads(path.read_text(encoding="utf-8"))
    if card["version"] != name:
        raise ValueError(f"it is that of {card['version']}")
    files = dict(card["files"])
    for file, digest in files.items():
        if not _FILE_NAME.fullmatch(file) or file == CARD or not _SHA256.fullmatch(digest):
            raise ValueError(f"it names {file!r}")
    held_out = tuple(
        HeldOut(
            material=str(row["material"]),
            formula=str(row["formula"]),
            sc=float(row["sc"]),
            sc_ipa_as_rpa=float(row["sc_ipa_as_rpa"]),
        )
        for row in card["held_out"]
    )
    return Version(
        name=name,
        created=str(card["created"])[:16].replace("T", " "),
        parent=card["parent"],
        n_train=_counted(card["n_train"]),
        n_held_out=len(held_out),
        median_sc=_number(card["metrics"].get("rpa", {}).get("median_sc")),
        interval=median_interval([row.sc for row in held_out]),
        ipa_as_rpa=_number(card["metrics"].get("ipa_as_rpa", {}).get("median_sc")),
        files=files,
        facts=tuple(_facts(card)),
        held_out=tuple(sorted(held_out, key=lambda row: (row.sc, row.material))),
    )


def _facts(card: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    dataset, uncertainty, ipa = card["dataset"], card.get("uncertainty", {}), card["metrics"].get("ipa", {})
    holds = uncertainty.get("held_out") or {}
    found = {
        "network": card["model"].get("architecture"),
        "IPA spectra learnt from": card["base"].get("n_materials"),
        "members": uncertainty.get("members"),
        "held-out median SC, IPA": _three_digits(ipa.get("median_sc")),
        "materials of the store then": dataset.get("n_rows"),
        "SHA-256 of the data": dataset.get("hash"),
        "SHA-256 of the split": card["split"].get("hash"),
        "protocols": ", ".join(str(name)[:12] for name in card["protocol_hashes"]),
        "fitted from": card["parent"],
        "software": ", ".join(f"{name} {version}" for name, version in card["software"].items()),
    }
    if _LEVEL in holds.get("levels", ()):
        share = holds["point"][holds["levels"].index(_LEVEL)]
        found["intervals"] = f"of {_LEVEL:.0%} hold {share:.0%} of the held-out points"
    return [(name, str(value)) for name, value in found.items() if value not in (None, "")]


def _three_digits(value: Any) -> str | None:
    number = _number(value)
    return None if number is None else f"{number:.3f}"


def _counted(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < _LARGEST):
        raise ValueError(f"it was fitted to {value!r:.20} spectra")
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None  # nor are NaN and infinity numbers
    return float(value)
