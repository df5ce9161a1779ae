"""Checkpoints on disk: weights with a card that proves them, and the link `latest`.

::

    checkpoints/
        0001-3f2a9c/        number, and the first digits of the SHA-256 of its card
            card.json       what it is, what it was fitted to, how good it is, SHA-256 of each file
            ipa.safetensors the base model (IPA)
            rpa.safetensors the transferred model (RPA)
        latest -> 0001-3f2a9c

A directory appears whole or not at all (written beside, then renamed), and nothing in it changes
afterwards. Weights are safetensors: reading a checkpoint never runs code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.errors import CheckpointError
from trainer.card import PULL_FIX, RUNGS, Card, Rung, read_card, read_verified, verify

if TYPE_CHECKING:
    from trainer.network import SpectrumNetwork

__all__ = ["RUNGS", "Registry", "Rung", "load_checkpoint"]

_VERSION = re.compile(r"(\d{4,})-([0-9a-f]{6})")


class Registry:
    """The checkpoints of one directory. One process writes (the trainer); any number read."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def versions(self) -> list[str]:
        """Versions present, oldest first."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir() if (path / "card.json").is_file()]
        return sorted((n for n in names if _VERSION.fullmatch(n)), key=lambda n: int(n.split("-")[0]))

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

    def load(self, reference: str | Path | None = None, rung: Rung = "rpa") -> tuple[SpectrumNetwork, Card]:
        """The model of a rung, ready to predict, and the card. Raises CheckpointError."""
        return load_checkpoint(self.path(reference), rung)

    def write(self, models: Mapping[Rung, SpectrumNetwork], card: Card) -> Card:
        """A new version of these models; returns the card with its version and hashes."""
        from safetensors.torch import save

        weights = {f"{rung}.safetensors": save(_contiguous(model)) for rung, model in models.items()}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(weights.items())}
        card = replace(card, files=hashes)
        number = max((int(v.split("-")[0]) for v in self.versions()), default=0) + 1
        card = replace(card, version=f"{number:04d}-{card.digest[:6]}")
        with _written_whole(self.directory, card.version) as staging:
            for name, data in weights.items():
                _write_synced(staging / name, data)
            _write_synced(staging / "card.json", card.dumps().encode())
        return card

    def promote(self, version: str) -> None:
        """Verify a version and make it `latest`, in one step for every reader."""
        if version not in self.versions():
            raise CheckpointError(
                f"{version!r} is not a version in {self.directory}",
                fix=f"Present: {', '.join(self.versions()) or 'none; copy one there with `farm pull`'}",
            )
        verify(self.directory / version)
        with _disk_errors(self.directory):
            link = Path(tempfile.mkdtemp(dir=self.directory, prefix=".latest-")) / "latest"
            try:
                link.symlink_to(version)
                link.replace(self.directory / "latest")
            finally:
                shutil.rmtree(link.parent)

    def rollback(self) -> str:
        """Back to the parent of `latest`: what was in use when it was fitted. Returns its version."""
        parent = read_card(self.path()).parent
        if parent is None or parent not in self.versions():
            raise CheckpointError(
                f"{self.latest()} has no predecessor in {self.directory}",
                fix="Choose one by name: `farm checkpoints promote VERSION`",
            )
        self.promote(parent)
        return parent

    def pull(self, source: Path, version: str | None = None) -> Card:
        """Copy a verified version (None: the `latest`) of another directory of checkpoints.

        It becomes `latest` here only where there was none: a farm's own model is never replaced
        unasked. Copying what is already here is a success.
        """
        origin = Registry(source).path(version)
        card = verify(origin)
        if not _VERSION.fullmatch(card.version):
            raise CheckpointError(f"{origin}: {card.version!r} is not a version")
        self.directory.mkdir(parents=True, exist_ok=True)
        if card.version not in self.versions():
            with _written_whole(self.directory, card.version) as staging:
                for name in (*card.files, "card.json"):
                    _write_synced(staging / name, (origin / name).read_bytes())
                # Once more on the copy: the source can change while it is read.
                verify(staging)
        if self.latest() is None:
            self.promote(card.version)
        return card


def load_checkpoint(directory: Path, rung: Rung = "rpa") -> tuple[SpectrumNetwork, Card]:
    """Model and card of one checkpoint directory; the bytes that were verified are those loaded."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    from trainer.architectures import build, config_from_dict

    card = read_card(directory)
    name = f"{rung}.safetensors"
    if name not in card.files:
        raise CheckpointError(f"{directory} holds no {rung.upper()} model", fix=PULL_FIX)
    model = build(config_from_dict(card.model))
    try:
        model.load_state_dict(load(read_verified(directory, card, name)))
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{directory / name}: weights of another architecture: {error}") from error
    return model.eval(), card


def _contiguous(model: SpectrumNetwork) -> dict[str, Any]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _written_whole(directory: Path, name: str) -> Iterator[Path]:
    """A staging directory that becomes ``directory / name`` when the block ends without an error."""
    with _disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=directory, prefix=f".{name}-"))
        try:
            yield staging
            staging.chmod(0o755)
            staging.rename(directory / name)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{directory}: cannot be written: {error}", fix="Free space on that disk and check its rights"
        ) from error
