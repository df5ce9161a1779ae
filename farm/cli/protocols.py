"""``farm protocols``: every parameter of the presets, with its unit and kind."""

from __future__ import annotations

from fractions import Fraction

import click

from farm.console import echo_json, screen


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def protocols(as_json: bool) -> None:
    """List the fields of the presets, their units, and whether they change physics.

    \b
    farm protocols
    """
    from farm.protocol import PRESETS, Protocol

    fields = Protocol.model_json_schema()["properties"]
    values = {name: preset.to_dict() for name, preset in PRESETS.items()}
    if as_json:
        rows = {
            name: {
                "unit": field["unit"],
                "kind": field["kind"],
                "description": field["description"],
                **{preset: given[name] for preset, given in values.items()},
            }
            for name, field in fields.items()
        }
        echo_json({"fields": rows, "hashes": {name: p.hash for name, p in PRESETS.items()}})
        return
    from rich.table import Table

    # Three columns and the text below the name: whole also in 80 columns.
    table = Table("field", *values, box=None, padding=(0, 1, 0, 0))
    table.columns[0].min_width = max(map(len, fields))
    for name, field in fields.items():
        shown = [_short(given[name]) for given in values.values()]
        kind = field["kind"] + (f", {field['unit']}" if field["unit"] else "")
        table.add_row(f"[bold]{name}[/]\n[dim]{field['description']} ({kind})", *shown)
    screen().print(table)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_fraction(x) for x in value)
    return "none" if value is None else str(value)


def _fraction(value: float) -> str:
    """As the fraction it is (1/64), else as a decimal number."""
    near = Fraction(value).limit_denominator(1000)
    return str(near) if near == value else f"{value:.6g}"
