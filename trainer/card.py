"""The card of a checkpoint: what it is, what it was fitted to, how good it is, and its proof."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from farm.errors import CheckpointError

CARD_FORMAT = 1
PULL_FIX = "Copy it again with `farm pull`, or take another from `farm checkpoints list`"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says of itself.

    version:         name of its directory; empty until it is written
    parent:          the version that was `latest` when it was fitted, None for the first
    created:         ISO 8601 with time zone
    n_train:         materials the models have learnt from, those that stopped them early included
    model:           the architecture, fields of ``OptiMateConfig``
    energy_max_ev:   end of the photon energy grid, eV; it starts at 0
    base, transfer:  per fit: plan, number and hash of its materials, epochs, losses
    dataset:         hash and number of rows, and of each part of the split
    split:           hash of the rule, and the compositions that were held out
    protocol_hashes: protocols of the spectra
    metrics:         ``rpa``, ``ipa`` (each model against its own rung), ``ipa_as_rpa`` (the
                     calculated IPA spectrum taken for the RPA one: the mark to beat)
    held_out:        per material: id, formula, SC of the model, SC of ``ipa_as_rpa``
    software:        versions of what fitted it
    files:           SHA-256 of each file beside the card
    """

    version: str = ""
    format: int = CARD_FORMAT
    parent: str | None
    created: str
    n_train: int
    model: Mapping[str, Any]
    energy_max_ev: float
    base: Mapping[str, Any]
    transfer: Mapping[str, Any]
    dataset: Mapping[str, Any]
    split: Mapping[str, Any]
    protocol_hashes: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, Any]]
    held_out: tuple[Mapping[str, Any], ...]
    software: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the version, which carries its first six digits."""
        content = {key: value for key, value in asdict(self).items() if key != "version"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def median_sc(self) -> float:
        """Of the RPA model on the materials held out when it was fitted."""
        return float(self.metrics["rpa"]["median_sc"])

    def dumps(self) -> str:
        """The text of ``card.json``."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def loads(cls, text: str, *, origin: str) -> Card:
        """The inverse of :meth:`dumps`. Raises CheckpointError naming where it came from."""
        try:
            data = json.loads(text)
            if data.get("format") != CARD_FORMAT:
                raise ValueError(f"format {data.get('format')}, expected {CARD_FORMAT}")
            known = {f.name for f in fields(cls)}
            if set(data) != known:
                raise ValueError(f"fields {', '.join(sorted(set(data) ^ known))}")
            tuples = {key: tuple(data[key]) for key in ("protocol_hashes", "held_out")}
            return cls(**{**data, **tuples})
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{origin}: not a checkpoint card: {error}", fix=PULL_FIX) from error


def read_card(directory: Path) -> Card:
    """The card of a checkpoint, checked against the digits in its version. Raises CheckpointError."""
    path = directory / "card.json"
    try:
        card = Card.loads(path.read_text(encoding="utf-8"), origin=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}", fix=PULL_FIX) from error
    if not card.version.endswith(f"-{card.digest[:6]}"):
        raise CheckpointError(f"{path}: was altered after it was written", fix=PULL_FIX)
    if any(Path(name).name != name or name.startswith(".") for name in card.files):
        raise CheckpointError(f"{path}: names files outside its directory", fix=PULL_FIX)
    return card


def verify(directory: Path) -> Card:
    """Check every file against the card; returns the card. Raises CheckpointError naming the file."""
    card = read_card(directory)
    for name in card.files:
        read_verified(directory, card, name)
    return card


def read_verified(directory: Path, card: Card, name: str) -> bytes:
    """The bytes of one file, which match the card. Raises CheckpointError."""
    try:
        data = (directory / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{directory / name}: cannot be read: {error}", fix=PULL_FIX) from error
    if hashlib.sha256(data).hexdigest() != card.files[name]:
        raise CheckpointError(f"{directory / name}: does not match the SHA-256 in its card", fix=PULL_FIX)
    return data
