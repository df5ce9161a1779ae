"""``farm import``: spectra that others have computed, into the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.console import echo_json, screen, settings_of
from farm.usable_cpus import usable_cpus

if TYPE_CHECKING:
    from farm.interchange.report import ImportReport

# Beyond so many the one that writes the store has no time for more.
_MOST_PROCESSES = 8


@click.command(name="import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@click.option(
    "--protocol",
    "protocol_name",
    default="paper",
    show_default=True,
    metavar="paper|demo|FILE",
    help="The protocol by which the files were made.",
)
@click.option(
    "--kppa",
    type=click.IntRange(1),
    metavar="N",
    help="K-points per reciprocal atom of the spectra, in place of the protocol's.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help=f"How many read files (default: one a core, {_MOST_PROCESSES} at most).",
)
@click.option(
    "--rejected",
    "rejected_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every rejection to it, a JSON object a line.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be imported, store nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def import_(
    ctx: click.Context,
    paths: tuple[Path, ...],
    protocol_name: str,
    kppa: int | None,
    processes: int | None,
    rejected_path: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Take spectra in the format of the published RPA database into the store.

    PATH is a JSON file (plain, .gz or .bz2) of one entry, a list of them or {"entries": [...]}, or a
    directory with such files at any depth. What `farm export` wrote is taken back as the results it was
    made of.

    Entries count as computed by YAMBO with bands by nscf, under the hash that `farm seed --engine yambo`
    has with the same protocol: what was imported is not computed again. A file whose parameters
    contradict the protocol is refused, as is one that is broken; each is named with what mends it, and
    the others come in. Every number comes back from `farm export` as it was, to the last bit. Import
    before you seed: what is queued already stays queued.

    Interrupted or killed, what came in stays, and the same command goes on from there.

    \b
    farm import htrpa/
    farm import htrpa/ --kppa 600 --rejected rejected.jsonl
    farm import entries.json.gz --protocol mine.toml --dry-run
    """
    from farm.cli.import_run import ImportRun, print_report
    from farm.interchange.terms import Terms
    from farm.protocol import load_protocol

    terms = Terms.of(load_protocol(protocol_name), kppa)
    run = ImportRun(
        paths=paths,
        terms=terms,
        store_path=settings_of(ctx).store_path,
        n_processes=processes or min(usable_cpus(), _MOST_PROCESSES),
        rejected_path=rejected_path,
        dry_run=dry_run,
    )
    signal_number = run.to_the_end()
    if signal_number:
        click.echo(f"farm: stopped. {run.kept()}", err=True)
        return 128 + signal_number
    report: ImportReport = run.report
    if as_json:
        echo_json(report.to_dict() | {"protocol_hash": terms.with_fields[1]})
    else:
        print_report(report, screen(), dry_run=dry_run)
    return 1 if report.nothing_came_in else 0
