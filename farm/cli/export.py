"""``farm export``: the store in other formats."""

from __future__ import annotations

from pathlib import Path

import click

from farm.console import settings_of


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", "file_format", type=click.Choice(["npz"]), default="npz", show_default=True)
@click.pass_context
def export(ctx: click.Context, path: Path, file_format: str) -> None:  # noqa: ARG001 - one format so far
    """Write everything the store holds to PATH.

    \b
    farm export spectra.npz --format npz
    """
    from farm.store import open_store
    from farm.store.export import export_npz

    with open_store(settings_of(ctx).store_path) as store:
        n_entries = export_npz(store, path)
    click.echo(f"{n_entries} entries in {path}")
