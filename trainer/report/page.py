"""The page: everything there is to say of a checkpoint in one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from trainer.checkpoints.card import Card
from trainer.report.atlas import Embedding, atlas_plate, embed
from trainer.report.contents import Contents, Materials
from trainer.report.curve import curve_plate
from trainer.report.curve_file import Curve
from trainer.report.examples import examples_plate
from trainer.report.facts import card_facts, lead, metric_rows
from trainer.report.figure import Plate, panel_svg
from trainer.report.parity import Parity, parities, parity_plate
from trainer.report.payload import atlas_payload
from trainer.report.similarity import similarity_plate
from trainer.report.uncertainty import uncertainty_plate

_SCRIPTS = ("search.js", "table.js")
_MAP_SCRIPTS = ("plot.js", "map.js")
NOTHING_PREDICTED = "Predicted spectra are needed for this, and could not be had: see the notes above."


@dataclass(frozen=True, kw_only=True)
class Report:
    """Contents, drawn: the plates that could be made, and places on the map where there are any."""

    contents: Contents
    curve: Plate | None
    parity: Plate | None
    similarity: Plate | None
    uncertainty: Plate | None
    examples: Plate | None
    atlas: Plate | None
    embedding: Embedding | None
    parities: tuple[Parity, ...]

    @property
    def plates(self) -> tuple[Plate, ...]:
        """Those that there are."""
        found = (self.curve, self.parity, self.similarity, self.uncertainty, self.examples, self.atlas)
        return tuple(plate for plate in found if plate is not None)


def make_report(contents: Contents, curve: Curve | None = None) -> Report:
    """Decide what can be drawn. UMAP takes seconds; the rest is drawn when the page or files are."""
    materials = contents.materials
    embedding = None if materials is None or materials.pooled is None else embed(materials.pooled)
    found = () if materials is None else parities(materials)
    return Report(
        contents=contents,
        curve=curve_plate(contents, curve),
        parity=parity_plate(found),
        similarity=None if materials is None else similarity_plate(materials),
        uncertainty=uncertainty_plate(contents.card, materials),
        examples=None if materials is None else examples_plate(materials),
        atlas=None if materials is None or embedding is None else atlas_plate(materials, embedding),
        embedding=embedding,
        parities=found,
    )


def render(report: Report) -> str:
    """The HTML text; the same report gives the same text."""
    contents = report.contents
    card, materials = contents.card, contents.materials
    payload = None
    if materials is not None and report.embedding is not None:
        payload = _script_json(atlas_payload(materials, report.embedding))
    sections = [
        _section("curve", "Learning curve", report.curve, "No version of the model can be read yet."),
        _section("parity", "Parity", report.parity, NOTHING_PREDICTED),
        _section("similarity", "Similarity", report.similarity, NOTHING_PREDICTED),
        *([_section("uncertainty", "Uncertainty", report.uncertainty, "")] if report.uncertainty else []),
        _section("examples", "Examples", report.examples, NOTHING_PREDICTED),
    ]
    text: str = _template().render(
        title=card.version if card is not None else "no checkpoint",
        lead=lead(card) if card is not None else _lead_without_card(materials),
        notes=contents.notes,
        metrics=metric_rows(card) if card is not None else [],
        facts=card_facts(contents),
        sections=sections,
        table=_table(card, materials, report.parities),
        atlas=_section(
            "atlas", "Atlas", report.atlas, "A map needs a model and three materials or more in the store."
        ),
        remark=report.embedding.remark if report.embedding is not None else "",
        payload=payload,
        style=_asset("page.css"),
        scripts=[_asset(name) for name in (*_SCRIPTS, *(_MAP_SCRIPTS if payload else ()))],
    )
    return text


def _section(name: str, title: str, plate: Plate | None, otherwise: str) -> dict[str, Any]:
    svgs = [Markup(panel_svg(panel)) for panel in plate.panels] if plate is not None else []  # noqa: S704
    return {
        "name": name,
        "title": title,
        "svgs": svgs,
        "caption": plate.caption if plate is not None else otherwise,
    }


def _lead_without_card(materials: Materials | None) -> str:
    if materials is None:
        return "There is no checkpoint to describe and no store to read."
    n = materials.n_in_store
    return f"There is no checkpoint to describe yet; the store holds {n} materials to learn from."


def _table(
    card: Card | None, materials: Materials | None, found: Sequence[Parity]
) -> list[dict[str, str | float | int | None]]:
    """One record a held-out material, the least similar first; None where a value is not known."""
    if card is None:
        return []
    at = {} if materials is None else {name: i for i, name in enumerate(materials.ids)}
    place = {} if materials is None else {int(row): n for n, row in enumerate(materials.held_out)}
    values = {parity.observable.name: parity for parity in found}
    records = []
    for record in sorted(card.held_out, key=lambda r: (float(r["sc"]), str(r["material"]))):
        row = at.get(str(record["material"]))
        n = place.get(row) if row is not None else None
        one: dict[str, str | float | int | None] = {
            "material": str(record["material"]),
            "formula": str(record["formula"]),
            "row": row,
            "n_atoms": int(materials.n_atoms[row]) if materials is not None and row is not None else None,
            "sc": float(record["sc"]),
            "sc_ipa": float(record["sc_ipa_as_rpa"]),
        }
        for name in ("eps0", "peak", "onset"):
            parity = values.get(name)
            known = parity is not None and n is not None
            one[name] = float(parity.calculated[n]) if known else None  # type: ignore[union-attr]
            one[f"{name}_predicted"] = float(parity.predicted[n]) if known else None  # type: ignore[union-attr]
        records.append(one)
    return records


def _script_json(document: Any) -> Markup:
    # In a script element only "</" could end it early; "<" alone is enough to be sure.
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704


def _asset(name: str) -> Markup:
    return Markup(files("trainer.report").joinpath(name).read_text(encoding="utf-8"))  # noqa: S704


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(str(_asset("page.html")))
