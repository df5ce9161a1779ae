"""``farm report --html`` and ``--figures``: another part makes them, found by its entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from farm.console import echo_json, screen
from farm.errors import FarmError
from farm.settings import Settings


def write_page(ctx: click.Context, settings: Settings, as_json: bool, **asked: Any) -> None:
    """Have the page or figures written and say what came of it; exit code 1 where something was missing.

    asked: ``html``, ``figures``, ``checkpoint`` and ``curve`` of the command, None for what was not given
    """
    try:
        (point,) = entry_points(group="farm.report_pages")
    except ValueError as error:
        raise FarmError(
            "no part that makes pages is installed",
            fix="Install the farm again: `pip install .` where its source is",
        ) from error
    with _waiting(asked["html"] or asked["figures"]):
        written = point.load()(settings, **asked)
    for problem in written.problems:
        click.echo(f"farm: {problem}", err=True)
    if as_json:
        echo_json(
            {
                "checkpoint": written.checkpoint,
                "files": [{"path": str(path), "bytes": path.stat().st_size} for path in written.paths],
                "problems": list(written.problems),
                "remarks": list(written.remarks),
            }
        )
    else:
        for path in written.paths:
            click.echo(f"{path} ({path.stat().st_size / 1e6:.2f} MB)")
        for remark in written.remarks:
            click.echo(remark, err=True)
    if written.problems:
        ctx.exit(1)


@contextmanager
def _waiting(path: Path) -> Iterator[None]:
    """A line on a terminal while it takes half a minute, of which the map takes most."""
    if not sys.stderr.isatty():
        yield
        return
    with screen(stderr=True).status(f"making {path}"):
        yield
