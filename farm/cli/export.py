"""``farm export``: the store in other formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli.outputs import spare_store
from farm.console import screen, settings_of
from farm.job import Engine, Outcome
from farm.rung import Rung

if TYPE_CHECKING:
    from collections.abc import Callable

_BY_SUFFIX = {".npz": "npz", ".parquet": "parquet"}
# Who ends a name so means a file.
_FILES = {".json", ".jsonl", ".gz", ".bz2", ".h5", ".hdf5", ".csv", ".npy", ".pq", ".zip"}


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["htrpa", "parquet", "npz"]),
    help="By the end of PATH, if not given: .parquet, .npz, else a directory (htrpa).",
)
@click.option("--outcome", type=click.Choice([o.value for o in Outcome]), help="Only such results.")
@click.option("--engine", type=click.Choice([e.value for e in Engine]), help="Only by this engine.")
@click.option(
    "--protocol-hash", default="", metavar="HASH", help="Only of this protocol, or its beginning."
)
@click.option("--rung", type=click.Choice([r.value for r in Rung]), help="Only what has spectra of it.")
@click.pass_context
def export(
    ctx: click.Context,
    path: Path,
    file_format: str | None,
    outcome: str | None,
    engine: str | None,
    protocol_hash: str,
    rung: str | None,
) -> None:
    """Write what the store holds to PATH.

    \b
    htrpa    a directory with one JSON file a material, as the published RPA database has them:
             pymatgen's ComputedStructureEntry reads them, and `farm import` takes them back
    parquet  one file of columns for pandas, polars or DuckDB, with units (needs pyarrow)
    npz      one file of numpy arrays

    What was imported is written as it came, every number to the last bit. A file *.nomad.json in the
    directory, or beside the Parquet file, says of each result how it was computed, in the words of the
    NOMAD archive. Files appear complete or not at all; other files in a directory are not touched.

    \b
    farm export htrpa/ --outcome done
    farm export spectra.parquet --engine native
    farm export spectra.npz --rung rpa
    """
    from farm.interchange.choice import Choice
    from farm.interchange.directory import export_directory
    from farm.interchange.nomad import export_nomad
    from farm.interchange.npz import export_npz
    from farm.interchange.parquet import export_parquet
    from farm.store import open_store

    chosen = Choice(
        outcome=Outcome(outcome) if outcome else None,
        engine=Engine(engine) if engine else None,
        protocol_hash=protocol_hash,
        rung=Rung(rung) if rung else None,
    )
    file_format = file_format or _by_name(path)
    store_path = settings_of(ctx).store_path
    spare_store(path, store_path)
    with open_store(store_path) as store:
        rows = chosen.rows(store)
        with _bar(len(rows)) as show:
            if file_format == "htrpa":
                export_directory(store, rows, path, show)
            elif file_format == "parquet":
                export_parquet(store, rows, path, show)
            else:
                export_npz(store, rows, path)
        click.echo(f"{len(rows):,} entries in {path}")
        if file_format != "npz":
            beside = export_nomad(store, rows, path)
            click.echo(f"how they were computed, for archives: {beside}")


def _by_name(path: Path) -> str:
    """The format that the end of a name tells; what tells none is a directory."""
    suffix = path.suffix.lower()
    if suffix in _FILES and not path.is_dir():
        raise click.BadParameter(f"{path} would be a directory. Say with --format what it shall be")
    return _BY_SUFFIX.get(suffix, "htrpa")


@contextmanager
def _bar(n_rows: int) -> Iterator[Callable[[int], None]]:
    """A bar by rows, on a terminal alone; what is yielded brings it on."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("writing", total=n_rows)
        yield lambda n: bar.update(task, advance=n)
