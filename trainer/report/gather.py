"""What the registry and the store say, put together. What cannot be had becomes a note, never a guess."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.errors import CheckpointError, FarmError, StoreError
from farm.store import open_store
from trainer.checkpoints.card import Card, read_card
from trainer.checkpoints.registry import Registry
from trainer.report.calculated import chosen, describe, part
from trainer.report.contents import Contents, Materials, Note
from trainer.report.predicted import ask, is_comparable, measure_now

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset
    from trainer.networks.network import SpectrumNetwork

# Of the newest versions so many are measured once more: a quarter of a second each.
MOST_VERSIONS = 24
# What the card says of a material and what is found now differ by rounding.
_SAME_SC = 1e-3


def gather(store_path: Path, checkpoints_dir: Path, reference: str | None = None) -> Contents:
    """Everything the page of a checkpoint (None: `latest`) shows.

    Raises CheckpointError where ``reference`` names no checkpoint, FarmError where there is neither
    a checkpoint nor a store.
    """
    registry = Registry(checkpoints_dir)
    notes: list[Note] = []
    versions = _versions(registry, notes)
    card, model = _checkpoint(registry, reference, notes)
    dataset, gaps_ev, protocol = _stored(store_path, card, notes)
    if card is None and not versions and dataset is None:
        raise FarmError(
            "there is nothing to report: " + " ".join(note.text for note in notes),
            fix="`farm seed` queues crystals, `farm up` computes them and fits a model",
        )
    materials, measured_now = None, None
    if dataset is not None:
        materials = describe(dataset.with_rpa, card, gaps_ev, protocol)
        rows = chosen(materials)
        graphs = [dataset.with_rpa.graphs[i] for i in rows]
        materials = part(materials, rows)
        if model is not None and card is not None:
            materials, said = ask(materials, graphs, model, card)
            notes += said
        if card is not None and materials.sc is not None:
            held_out = [graphs[i] for i in materials.held_out]
            models = _comparable_models(registry, versions, card)
            measured_now = measure_now(models, materials, held_out) if held_out else None
        notes += _remarks(materials, card, dataset)
    return Contents(
        card=card,
        versions=versions,
        n_weights=None if model is None else model.n_weights,
        materials=materials,
        measured_now=measured_now,
        notes=tuple(notes),
    )


def _versions(registry: Registry, notes: list[Note]) -> tuple[Card, ...]:
    cards = []
    for version in registry.versions():
        try:
            cards.append(read_card(registry.directory / version))
        except CheckpointError as error:
            notes.append(Note(f"Left out of the learning curve: {error}"))
    return tuple(cards)


def _checkpoint(
    registry: Registry, reference: str | None, notes: list[Note]
) -> tuple[Card | None, SpectrumNetwork | None]:
    """Card and RPA model; each None where it cannot be read."""
    try:
        directory = registry.path(reference)
    except CheckpointError as error:
        if reference is not None:
            raise
        notes.append(Note(str(error)))
        return None, None
    try:
        card = read_card(directory)
    except CheckpointError as error:
        notes.append(Note(f"The checkpoint cannot be described: {error}"))
        return None, None
    try:
        model, _ = registry.load(directory, "rpa")
    except CheckpointError as error:
        notes.append(Note(f"The model cannot be asked, only its card is shown: {error}"))
        return card, None
    return card, model


def _stored(
    store_path: Path, card: Card | None, notes: list[Note]
) -> tuple[Dataset | None, dict[str, float | None], dict[str, Any]]:
    """What the store holds under the protocol of the checkpoint, direct gaps, and the protocol."""
    from trainer.data.dataset import choose_rows, load_dataset

    protocol_hash = None
    try:
        with open_store(store_path) as store:
            stored = list(store.rows())
            if card is not None and card.protocol_hashes:
                # Some may be of IPA alone.
                protocol_hash = max(card.protocol_hashes, key=lambda name: len(choose_rows(stored, name)))
            rows = choose_rows(stored, protocol_hash)
            protocol = store.protocol(rows[0].index) if rows else {}
        dataset = load_dataset(store_path, protocol_hash)
    except StoreError as error:
        notes.append(Note(f"No calculated spectra: {error}"))
        return None, {}, {}
    if not len(dataset.with_rpa):
        under = f" under the protocol of the checkpoint ({protocol_hash[:12]})" if protocol_hash else ""
        notes.append(Note(f"{store_path} holds no material with both spectra{under}."))
        return None, {}, protocol
    return dataset, {row.material_id: row.gap_direct_ev for row in rows}, protocol


def _comparable_models(
    registry: Registry, versions: Sequence[Card], card: Card
) -> Iterator[tuple[Card, SpectrumNetwork]]:
    for other in versions[-MOST_VERSIONS:]:
        if is_comparable(other, card):
            try:
                yield other, registry.load(other.version, "rpa")[0]
            except CheckpointError:
                continue  # its card stands in the curve as fitted


def _remarks(materials: Materials, card: Card | None, dataset: Dataset) -> list[Note]:
    """What a reader should know and nobody did wrong."""
    remarks = []
    if len(materials) < materials.n_in_store:
        remarks.append(f"Of {materials.n_in_store} materials {len(materials)} are shown.")
    if dataset.rejected:
        n, first = len(dataset.rejected), dataset.rejected[0].rstrip(".")
        remarks.append(f"The model cannot treat {n} of the materials in the store, e.g. {first}.")
    if card is not None:
        remarks += _of_card(materials, card, dataset)
    return [Note(text, is_problem=False) for text in remarks]


def _of_card(materials: Materials, card: Card, dataset: Dataset) -> list[str]:
    remarks = []
    row = {name: i for i, name in enumerate(materials.ids)}
    gone = [str(r["material"]) for r in card.held_out if r["material"] not in row]
    if gone:
        named = ", ".join(gone[:5]) + (", ..." if len(gone) > 5 else "")
        remarks.append(
            f"{len(gone)} of {len(card.held_out)} held-out materials are no longer in the store "
            f"({named}): the table has their scores from the card, figures leave them out."
        )
    n_then, n_now = card.dataset.get("n_rows"), (len(dataset), len(dataset.with_rpa))
    if n_then is not None and n_then not in n_now:
        remarks.append(
            f"{card.version} was fitted when the store held {n_then} materials, now it holds {n_now[0]}: "
            "not all that is called learning side was learnt from."
        )
    if materials.sc is not None:
        known = [(float(r["sc"]), row[r["material"]]) for r in card.held_out if r["material"] in row]
        moved = [abs(sc - materials.sc[i]) for sc, i in known]
        n_moved = int(np.sum(np.array(moved) > _SAME_SC))
        if n_moved:
            remarks.append(
                f"{n_moved} held-out materials score otherwise now than in the card (by up to "
                f"{max(moved):.3f}): their spectra in the store changed."
            )
    return remarks
