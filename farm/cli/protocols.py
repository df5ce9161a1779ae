"""``farm protocols``: every parameter of the presets, with its unit and kind."""

from __future__ import annotations

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

    table = Table("field", *values, "unit", "kind", "what", box=None)
    for name, field in fields.items():
        shown = [_short(given[name]) for given in values.values()]
        table.add_row(name, *shown, field["unit"], field["kind"], field["description"])
    screen().print(table)


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(f"{x:.6g}" for x in value)
    return "none" if value is None else str(value)
