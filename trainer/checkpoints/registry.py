"""Checkpoints on disk: weights with a card that proves them, and the link `latest`.

::

    checkpoints/
        0001-3f2a9c/        number, and the first digits of the SHA-256 of its card
            card.json       what it is, what it was fitted to, how good it is, SHA-256 of each file
            ipa.safetensors the base model (IPA)
            rpa.safetensors the transferred model (RPA), one or several members
            similarity.safetensors   SC[RPA; IPA], one number a crystal; not everywhere
        latest -> 0001-3f2a9c
        history.jsonl       what was promoted, refused, rolled back and pulled, when and why

A directory appears whole or not at all (written beside, then renamed), and nothing in it changes
afterwards. Weights are safetensors: reading a checkpoint never runs code.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.errors import CheckpointError
from trainer.checkpoints.card import PULL_FIX, RUNGS, Card, Rung, read_card, read_verified, verify
from trainer.checkpoints.history import Event, History, append, entry, read
from trainer.checkpoints.staging import publish, staged, sync, write_synced

if TYPE_CHECKING:
    from trainer.networks.network import SpectrumNetwork

__all__ = ["RUNGS", "Registry", "Rung", "is_version", "load_checkpoint"]

LOGGER = logging.getLogger(__name__)

HISTORY = "history.jsonl"
_VERSION = re.compile(r"([0-9]{4,9})-([0-9a-f]{6})")


def is_version(text: str) -> bool:
    """Whether this can be the name of a version; such a name is no way out of a directory."""
    return _VERSION.fullmatch(text) is not None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Registry:
    """The checkpoints of one directory; any number of processes read while one writes."""

    def __init__(self, directory: Path, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self.directory, self.clock = Path(directory), clock

    def versions(self) -> list[str]:
        """Versions present, oldest first."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir() if (path / "card.json").is_file()]
        return sorted((n for n in names if is_version(n)), key=lambda n: (int(n.split("-")[0]), n))

    def latest(self) -> str | None:
        """The version in use, None before the first promotion."""
        link = self.directory / "latest"
        return os.readlink(link) if link.is_symlink() else None

    def path(self, reference: str | Path | None = None) -> Path:
        """The directory of a version, of any checkpoint by path, or (None) of `latest`."""
        if reference is None:
            version = self.latest()
            if version is None:
                raise CheckpointError(
                    f"{self.directory} has no promoted checkpoint yet",
                    fix="Let the farm finish its first refit, or copy one: `farm pull --from DIR`",
                )
            return self.directory / version
        for candidate in (self.directory / reference, Path(reference)):
            if (candidate / "card.json").is_file():
                return candidate
        raise CheckpointError(
            f"no checkpoint {str(reference)!r} in {self.directory}",
            fix=f"Present: {', '.join(self.versions()) or 'none'}",
        )

    def load(
        self, reference: str | Path | None = None, rung: Rung | None = None
    ) -> tuple[SpectrumNetwork, Card]:
        """The model of a rung (None: the highest there), ready to predict, and the card.

        Raises CheckpointError.
        """
        return load_checkpoint(self.path(reference), rung)

    def write(self, models: Mapping[Rung, SpectrumNetwork], card: Card) -> Card:
        """A new version of these models; returns the card with its version and hashes."""
        from safetensors.torch import save

        weights = {f"{rung}.safetensors": save(_contiguous(model)) for rung, model in models.items()}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(weights.items())}
        card = replace(card, files=hashes)
        number = max((int(v.split("-")[0]) for v in self.versions()), default=0) + 1
        card = replace(card, version=f"{number:04d}-{card.digest[:6]}")
        with staged(self.directory) as staging:
            for name, data in weights.items():
                write_synced(staging / name, data)
            write_synced(staging / "card.json", card.dumps().encode())
            publish(staging, self.directory / card.version)
        return card

    def promote(self, version: str, *, reason: str = "by hand", **numbers: float | None) -> None:
        """Verify a version and make it `latest`, in one step for every reader.

        ``reason`` and ``numbers`` (what was decided by) go to the history.
        """
        self._switch(version, Event.PROMOTED, reason, numbers)

    def rollback(self, *, reason: str = "by hand") -> str:
        """Back to the parent of `latest`: what was in use when it was fitted. Returns its version.

        From one that has none here, imported or pulled, to what was in use when it was promoted.
        """
        version, present = read_card(self.path()).version, self.versions()
        promoted = [e for e in self.history().entries if (e.event, e.version) == (Event.PROMOTED, version)]
        before = [read_card(self.path()).parent, *(e.origin for e in promoted[-1:])]
        chosen = next((v for v in before if v in present), None)
        if chosen is None:
            raise CheckpointError(
                f"{version} has no predecessor in {self.directory}",
                fix="Choose one by name: `farm checkpoints promote VERSION`",
            )
        self._switch(chosen, Event.ROLLED_BACK, reason, {})
        return chosen

    def _switch(self, version: str, event: Event, reason: str, numbers: Mapping[str, float | None]) -> None:
        if version not in self.versions():
            raise CheckpointError(
                f"{version!r} is not a version in {self.directory}",
                fix=f"Present: {', '.join(self.versions()) or 'none; copy one there with `farm pull`'}",
            )
        verify(self.directory / version)
        before = self.latest()
        if before == version:
            return
        with staged(self.directory) as staging:
            link = staging / "latest"
            link.symlink_to(version)
            link.replace(self.directory / "latest")
            sync(self.directory)
        self.record(event, version, origin=before, reason=reason, numbers=numbers)

    def record_refusal(self, version: str, *, reason: str, **numbers: float | None) -> None:
        """Tell the history that a version was not promoted, and by what that was decided."""
        self.record(Event.REFUSED, version, origin=self.latest(), reason=reason, numbers=numbers)

    def record(
        self,
        event: Event,
        version: str,
        *,
        origin: str | None,
        reason: str,
        numbers: Mapping[str, float | None] | None = None,
    ) -> None:
        """Add a line to the history. A disk that refuses it undoes nothing: a warning tells."""
        line = entry(event, version, now=self.clock(), origin=origin, why=reason, numbers=numbers or {})
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            append(self.directory / HISTORY, line)
        except OSError as error:
            LOGGER.warning("%s: not recorded that %s was %s: %s", self.directory, version, event, error)

    def history(self) -> History:
        """What happened to the versions, the oldest first. Raises CheckpointError."""
        path = self.directory / HISTORY
        try:
            return read(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error


def load_checkpoint(directory: Path, rung: Rung | None = None) -> tuple[SpectrumNetwork, Card]:
    """Model and card of one checkpoint directory; the bytes that were verified are those loaded."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from trainer.networks.architectures import config_from_dict, model_of

    card = read_card(directory)
    rung = rung or (card.rungs[-1] if card.rungs else "rpa")
    name = f"{rung}.safetensors"
    if name not in card.files:
        raise CheckpointError(f"{directory} holds no {rung.upper()} model", fix=PULL_FIX)
    try:
        config = config_from_dict(card.similarity["model"] if rung == "similarity" else card.model)
        model = model_of(config, load(read_verified(directory, card, name)))
    except (RuntimeError, SafetensorError, TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{directory / name}: weights of another architecture: {error}") from error
    return model.eval(), card


def _contiguous(model: SpectrumNetwork) -> dict[str, Any]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
