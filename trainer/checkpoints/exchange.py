"""Checkpoints from elsewhere and to elsewhere: proven by their hashes before anybody sees them.

A place that serves them holds what a registry holds. Its `latest` is a link to a directory, as on a
disk and behind any web server over it, or a text object with the version, as in a bucket.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from farm.errors import CheckpointError, InputError
from trainer.checkpoints.card import PULL_FIX, Card, parse_card, read_verified, verify
from trainer.checkpoints.history import Event
from trainer.checkpoints.registry import Registry, is_version
from trainer.checkpoints.remote import Missing, Patience, Place
from trainer.checkpoints.staging import publish, staged, sync, write_synced

# A card with ten thousand held-out materials has 1.5 MB; the widest published model has 0.1 GB.
CARD_LIMIT = 8 * 10**6
WEIGHTS_LIMIT = 10**9
FILES_LIMIT = 64
_LATEST_LIMIT = 1000

# (file, bytes so far, bytes in all where known)
Progress = Callable[[str, int, int | None], None]


def pull(
    registry: Registry,
    location: str | Path,
    version: str | None = None,
    *,
    patience: Patience | None = None,
    on_progress: Progress | None = None,
) -> Card:
    """Copy a version (None: the `latest` there) into ``registry``, verified before it appears.

    It becomes `latest` here only where there was none: a farm's own model is never replaced unasked.
    What is here already and whole is not copied again. Raises InputError, CheckpointError,
    MissingProgramError.
    """
    if version is not None and not is_version(version):
        raise InputError(f"{version!r} is not a version", fix="Versions look like 0003-8be2d1")
    place = Place(location, patience)
    if place.path is not None and not place.path.is_dir():
        raise InputError(f"{place} is not a directory", fix="Give the checkpoints directory of a farm")
    text, card = _find_card(place, version)
    target = registry.directory / card.version
    if not _whole(target, card):
        with staged(registry.directory) as staging:
            for name, expected in card.files.items():
                _fetch(place, f"{card.version}/{name}", staging / name, expected, on_progress)
            write_synced(staging / "card.json", text)
            publish(staging, target, is_whole=lambda: _whole(target, card))
        registry.record(Event.PULLED, card.version, origin=str(place), reason="verified")
    if registry.latest() is None:
        registry.promote(card.version, reason="the first here")
    return card


def push(
    registry: Registry,
    location: str | Path,
    version: str | None = None,
    *,
    keep_latest: bool = False,
    patience: Patience | None = None,
    on_progress: Progress | None = None,
) -> Card:
    """Copy a verified version (None: `latest`) to a place, from which it can be pulled.

    Weights go first, then the card, `latest` (unless ``keep_latest``) last: who reads meanwhile sees
    what was there before. Raises InputError, CheckpointError, MissingProgramError.
    """
    place = Place(location, patience)
    if place.path is not None:
        there = Registry(place.path)
        card = pull(there, registry.directory, version, on_progress=on_progress)
        if not keep_latest:
            there.promote(card.version, reason=f"pushed from {registry.directory}")
        return card
    if place.protocol in ("http", "https"):
        raise InputError(
            f"{place}: a web server is only read",
            fix="Push to the directory that it serves, or to a bucket: s3://bucket/prefix",
        )
    directory = registry.path(version)
    card = verify(directory)
    text = (directory / "card.json").read_bytes()
    there_already = place.read(f"{card.version}/card.json", limit=CARD_LIMIT)
    if not isinstance(there_already, Missing) and there_already != text:
        raise CheckpointError(
            f"{place.shown(card.version)}: another checkpoint of that name is there",
            fix="Push to another prefix",
        )
    for name in card.files:
        data = read_verified(directory, card, name)
        if place.size(f"{card.version}/{name}") != len(data):
            place.write(f"{card.version}/{name}", data)
        if on_progress is not None:
            on_progress(name, len(data), len(data))
    if isinstance(there_already, Missing):
        place.write(f"{card.version}/card.json", text)
    if not keep_latest:
        place.write("latest", f"{card.version}\n".encode())
    return card


def _find_card(place: Place, version: str | None) -> tuple[bytes, Card]:
    if version is not None:
        return _read_card(place, version, version)
    found = place.read("latest/card.json", limit=CARD_LIMIT)
    if not isinstance(found, Missing):
        return _parsed(place, "latest", found)
    text = place.read("latest", limit=_LATEST_LIMIT)
    if isinstance(text, Missing):
        raise CheckpointError(
            f"{place}: no checkpoint there ({place.shown('latest/card.json')}: {found.reason})",
            fix="Give the directory that holds `latest`, or a version with --version",
        )
    named = text.decode("utf-8", errors="replace").strip()
    if not is_version(named):
        raise CheckpointError(f"{place.shown('latest')}: names no version: {named[:40]!r}")
    return _read_card(place, named, named)


def _read_card(place: Place, directory: str, version: str) -> tuple[bytes, Card]:
    found = place.read(f"{directory}/card.json", limit=CARD_LIMIT)
    if isinstance(found, Missing):
        raise CheckpointError(f"{place.shown(f'{directory}/card.json')}: {found.reason}", fix=PULL_FIX)
    text, card = _parsed(place, directory, found)
    if card.version != version:
        raise CheckpointError(f"{place.shown(f'{directory}/card.json')}: is that of {card.version}")
    return text, card


def _parsed(place: Place, directory: str, text: bytes) -> tuple[bytes, Card]:
    origin = place.shown(f"{directory}/card.json")
    try:
        card = parse_card(text.decode("utf-8"), origin=origin)
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{origin}: not a checkpoint card", fix=PULL_FIX) from error
    if not is_version(card.version):
        raise CheckpointError(f"{origin}: {card.version!r} is not a version")
    if len(card.files) > FILES_LIMIT:
        raise CheckpointError(f"{origin}: names more than {FILES_LIMIT} files")
    return text, card


def _whole(directory: Path, card: Card) -> bool:
    """Whether this checkpoint is here and undamaged."""
    if not directory.exists():
        return False
    try:
        return verify(directory).files == card.files
    except CheckpointError:
        return False


def _fetch(place: Place, name: str, to: Path, expected: str, on_progress: Progress | None) -> None:
    def on_bytes(so_far: int, total: int | None) -> None:
        if on_progress is not None:
            on_progress(to.name, so_far, total)

    place.fetch(name, to, limit=WEIGHTS_LIMIT, on_bytes=on_bytes)
    with to.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise CheckpointError(
            f"{place.shown(name)}: does not match the SHA-256 in its card",
            fix="It is damaged there: tell who keeps it, or take another with `farm pull --version`",
        )
    sync(to)
