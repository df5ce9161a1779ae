"""The card of a checkpoint in words and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.median_interval import difference_interval, median_interval
from trainer.checkpoints.card import Card
from trainer.report.contents import Contents

METRIC_NAMES = {
    "rpa": "RPA model against calculated RPA",
    "ipa": "IPA model against calculated IPA",
    "ipa_as_rpa": "calculated IPA taken for RPA",
}
# Lists of compositions and ids: the table of the page has them.
_LONG = ("held_out", "materials")
_MEASURES = ("n", "median_sc", "mean_sc", "median_mse", "median_mae")


@dataclass(frozen=True)
class Facts:
    """A titled list of names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]


def lead(card: Card) -> str:
    """What the checkpoint is worth, in two sentences."""
    if card.median_sc is None:
        return "Nobody has measured this checkpoint on materials that it had not seen."
    n = int(card.metrics["rpa"].get("n", len(card.held_out)))
    interval = median_interval([float(record["sc"]) for record in card.held_out])
    bounds = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    text = (
        f"On {n} held-out materials the predicted RPA spectra reach a median similarity of "
        f"{card.median_sc:.3f}{bounds}."
    )
    mark = card.metrics.get("ipa_as_rpa", {}).get("median_sc")
    if mark is None or not card.held_out:
        return text
    own, ipa = ([float(record[name]) for record in card.held_out] for name in ("sc", "sc_ipa_as_rpa"))
    n_better = sum(x > y for x, y in zip(own, ipa, strict=True))
    return (
        f"{text} The calculated IPA spectrum, taken for the RPA one, reaches {mark:.3f}: "
        f"{_verdict(own, ipa)}, and the model is nearer for {n_better} of {len(own)}."
    )


def _verdict(own: Sequence[float], ipa: Sequence[float]) -> str:
    interval = difference_interval(own, ipa)
    if interval is None or interval[0] <= 0.0 <= interval[1]:
        return "these medians cannot be told apart on so few materials"
    word, (least, most) = ("better" if interval[0] > 0.0 else "worse"), sorted(map(abs, interval))
    return f"the model is {word}, by {least:.3f} to {most:.3f}"


def metric_rows(card: Card) -> list[tuple[str, list[str]]]:
    """The rows of the table of measures: a name, then n, SC (median, mean), MSE, MAE."""
    names = [*(name for name in METRIC_NAMES if name in card.metrics)]
    names += [name for name in card.metrics if name not in METRIC_NAMES]
    return [
        (METRIC_NAMES.get(name, name), [_number(card.metrics[name].get(key)) for key in _MEASURES])
        for name in names
    ]


def card_facts(contents: Contents) -> list[Facts]:
    """What the checkpoint is, from what, how fitted, with what software; empty without a card."""
    card = contents.card
    if card is None:
        return []
    lists = [
        Facts("Checkpoint", _identity(card, contents)),
        Facts("Network", (*_flat(card.model), *_weights(contents.n_weights))),
        Facts("Data", _flat({k: v for k, v in card.dataset.items() if k != "request"})),
        Facts("Held out by", _flat({k: v for k, v in card.split.items() if k not in _LONG})),
        Facts("IPA base", _flat(card.base)),
        Facts("Transfer to RPA", _flat(card.transfer)),
    ]
    lists.append(Facts("Uncertainty", _flat(card.uncertainty)))
    lists.append(Facts("Similarity of IPA and RPA", _flat(card.similarity)))
    if contents.materials is not None and contents.materials.protocol:
        lists.append(Facts("Protocol of the spectra", _flat(contents.materials.protocol)))
    lists.append(Facts("Software", _flat(card.software)))
    return [facts for facts in lists if facts.rows]


def lineage(card: Card, versions: Sequence[Card]) -> list[str]:
    """Versions from this one back to the first, as far as their cards are there."""
    parents = {other.version: other.parent for other in versions}
    chain, parent = [card.version], card.parent
    while parent is not None and parent not in chain:
        chain.append(parent)
        parent = parents.get(parent)
    return chain


def _identity(card: Card, contents: Contents) -> tuple[tuple[str, str], ...]:
    return (
        ("version", card.version),
        ("fitted", card.created[:16].replace("T", " ") + " UTC"),
        ("materials learnt from", "not known" if card.n_train is None else str(card.n_train)),
        ("grid", f"{card.model.get('n_energies', '?')} points, 0 to {card.energy_max_ev:g} eV"),
        ("lineage", " ← ".join(lineage(card, contents.versions))),
        ("protocol", ", ".join(name[:12] for name in card.protocol_hashes if name) or "not named"),
    )


def _weights(n_weights: int | None) -> tuple[tuple[str, str], ...]:
    return () if n_weights is None else (("weights", f"{n_weights:,}"),)


def _flat(values: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        else:
            rows.append((name, _text(value)))
    return tuple(rows)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        parts = [f"({_text(item)})" if isinstance(item, list | tuple) else _text(item) for item in value]
        return ", ".join(parts) or "none"
    if isinstance(value, bool | int | str):
        text = str(value)
        # A SHA-256 is told by its first digits.
        return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.3f}" if isinstance(value, float) else ""
