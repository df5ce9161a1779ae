"""``farm show --inputs``: the inputs of a stored result, for anybody to run by hand."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from farm.console import echo_json, screen
from farm.errors import FarmError
from farm.result import Result


def show_inputs(result: Result, directory: Path, *, as_json: bool) -> None:
    """Write them and say what was written.

    Raises InputError for a directory that is not empty and for a record that cannot be read.
    """
    try:
        (point,) = entry_points(group="farm.input_writers")
    except ValueError as error:
        raise FarmError(
            "no part that knows the inputs is installed",
            fix="Install the farm again: `pip install .` where its source is",
        ) from error
    document: dict[str, Any] = point.load()(result, directory)
    if as_json:
        echo_json(document)
    else:
        _print(document)


def _print(document: dict[str, Any]) -> None:
    from rich.markup import escape

    console = screen()
    console.print(f"inputs {escape(document['directory'])}: {len(document['files'])} files")
    for step in document["steps"]:
        console.print(f"  {escape(step)}")
    if "run.sh" in document["files"]:
        console.print("  run.sh runs them in this order")
    else:
        console.print("  nothing was run: README.txt says why")
    for name in document["missing_pseudopotentials"]:
        console.print(f"[yellow]not here[/] {escape(name)}: put it into pseudo/")
    for note in document["notes"]:
        console.print(f"[yellow]note[/] {escape(note)}")
