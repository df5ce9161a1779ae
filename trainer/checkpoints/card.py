"""The card of a checkpoint: what it is, what it was fitted to, how good it is, and its proof."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from farm.errors import CheckpointError

# The models of a checkpoint: spectra on both rungs, and how similar these are.
Rung = Literal["ipa", "rpa", "similarity"]
RUNGS: tuple[Rung, ...] = ("ipa", "rpa")

# 1: one width a layer of attention, and one number of heads. Older formats stay readable; a field that
# is added with a default needs no new one.
CARD_FORMAT = 2
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OBJECTS = (
    *("model", "base", "transfer", "dataset", "split", "metrics", "software", "files"),
    *("uncertainty", "similarity"),
)
PULL_FIX = "Copy it again with `farm pull`, or take another from `farm checkpoints list`"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says of itself.

    version:         name of its directory; empty until it is written
    parent:          the version that was `latest` when it was fitted, None for the first
    created:         ISO 8601 with time zone
    n_train:         materials the models have learnt from, those that stopped them early included;
                     None where nobody said (imported weights)
    model:           the architecture: fields of its configuration
    energy_max_ev:   end of the photon energy grid, eV; it starts at 0
    base, transfer:  per fit: plan, number and hash of its materials, epochs, losses; of imported
                     weights ``imported``: name, SHA-256 and layout of their file
    dataset:         hash and number of rows, and of each part of the split
    split:           hash of the rule, and the compositions that were held out
    protocol_hashes: protocols of the spectra
    uncertainty:     ``members`` of the RPA model, ``calibration`` (see trainer.networks.calibration) and
                     ``held_out``: what its intervals hold there; empty: it cannot say how sure it is
    similarity:      of the model of SC[RPA; IPA]: its architecture, fit, ``half_width`` of the 80 %
                     interval, errors on the held-out materials; empty: there is none
    metrics:         ``rpa``, ``ipa`` (each model against its own rung), ``ipa_as_rpa`` (the
                     calculated IPA spectrum taken for the RPA one: the mark to beat); a model that
                     nobody measured has no entry
    held_out:        per material: id, formula, SC of the model, SC of ``ipa_as_rpa``
    software:        versions of what fitted it
    files:           SHA-256 of each file beside the card
    """

    version: str = ""
    format: int = CARD_FORMAT
    parent: str | None
    created: str
    n_train: int | None
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
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    similarity: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the version, which carries its first six digits."""
        return _digest(asdict(self))

    @property
    def median_sc(self) -> float | None:
        """Of the RPA model on the materials held out when it was fitted; None: it was not measured."""
        found = self.metrics.get("rpa", {}).get("median_sc")
        return None if found is None else float(found)

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The rungs it has a model of, the lowest first."""
        return tuple(rung for rung in RUNGS if f"{rung}.safetensors" in self.files)

    @property
    def imported(self) -> bool:
        """Whether its weights came from a file of somebody else's and not from a fit of a farm."""
        return "imported" in self.base or "imported" in self.transfer

    def dumps(self) -> str:
        """The text of ``card.json``."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def loads(cls, text: str, *, origin: str) -> Card:
        """The inverse of :meth:`dumps`, of older formats too. Raises CheckpointError naming the origin."""
        return cls._from_data(_parsed(text, origin), origin)

    @classmethod
    def _from_data(cls, data: Mapping[str, Any], origin: str) -> Card:
        try:
            data = _upgraded(data)
            known = {f.name for f in fields(cls)}
            needed = {f.name for f in fields(cls) if f.default is f.default_factory is MISSING}
            if wrong := (set(data) - known) | (needed - set(data)):
                raise ValueError(f"fields {', '.join(sorted(wrong))}")
            for name in _OBJECTS:
                if not isinstance(data.get(name, {}), dict):
                    raise ValueError(f"{name} is not an object")
            tuples = {key: tuple(data[key]) for key in ("protocol_hashes", "held_out")}
            return cls(**{**data, **tuples})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{origin}: not a checkpoint card: {error}", fix=PULL_FIX) from error


def _parsed(text: str, origin: str) -> Mapping[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{origin}: not a checkpoint card: {error}", fix=PULL_FIX) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{origin}: not a checkpoint card", fix=PULL_FIX)
    return data


def _digest(data: Mapping[str, Any]) -> str:
    content = {key: value for key, value in data.items() if key != "version"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _upgraded(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same card in the present format."""
    number = data.get("format")
    if not isinstance(number, int) or not 1 <= number <= CARD_FORMAT:
        raise ValueError(f"format {number}, this version of farm knows 1 to {CARD_FORMAT}")
    if number == 1 and "heads" in data["model"]:
        model = {"architecture": "optimate", **data["model"]}
        heads = model.pop("heads")
        model["attention"] = [[model.pop(f"attention_{layer}"), heads] for layer in (1, 2)]
        data = {**data, "model": model}
    return {**data, "format": CARD_FORMAT}


def parse_card(text: str, *, origin: str) -> Card:
    """A card, checked against the digits in its version. Raises CheckpointError naming the origin."""
    data = _parsed(text, origin)
    card = Card._from_data(data, origin)
    # Of what is written, whatever its format: an upgraded card has another digest.
    if not str(card.version).endswith(f"-{_digest(data)[:6]}"):
        raise CheckpointError(f"{origin}: was altered after it was written", fix=PULL_FIX)
    if not all(_FILE_NAME.fullmatch(name) and name != "card.json" for name in card.files):
        raise CheckpointError(f"{origin}: names files outside its directory", fix=PULL_FIX)
    if not all(_SHA256.fullmatch(str(value)) for value in card.files.values()):
        raise CheckpointError(f"{origin}: a file has no SHA-256", fix=PULL_FIX)
    return card


def read_card(directory: Path) -> Card:
    """The card of a checkpoint, checked against the digits in its version. Raises CheckpointError."""
    path = directory / "card.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}", fix=PULL_FIX) from error
    return parse_card(text, origin=str(path))


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
