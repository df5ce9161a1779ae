"""``farm seed``: structures in, jobs in the backlog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.console import echo_json, open_backlog, screen, settings_of
from farm.settings import Settings

if TYPE_CHECKING:
    from farm.seeding import SeedReport

_ROWS_SHOWN = 20


def _elements(ctx: click.Context, parameter: click.Parameter, text: str | None) -> frozenset[str] | None:  # noqa: ARG001 - click's signature
    if text is None:
        return None
    from pymatgen.core import Element

    symbols = frozenset(symbol for symbol in text.replace(",", " ").split() if symbol)
    if unknown := sorted(symbol for symbol in symbols if not Element.is_valid_symbol(symbol)):
        raise click.BadParameter(f"no such element: {', '.join(unknown)}; write for example Si,O")
    return symbols


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@click.option("--max-atoms", type=click.IntRange(1), help="Only cells of at most this many atoms.")
@click.option("--elements", callback=_elements, metavar="A,B,...", help="Only these elements.")
@click.option("--exclude", callback=_elements, metavar="A,B,...", help="Without these elements.")
@click.option("--min-gap", type=float, metavar="EV", help="Source's gap at least this, eV.")
@click.option(
    "--max-hull", type=float, metavar="EV", help="Source's energy above hull at most this, eV per atom."
)
@click.option("--space-group", type=click.IntRange(1, 230), help="Only this space group number.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many crystals.")
@click.option(
    "--protocol", default="paper", show_default=True, metavar="paper|demo|FILE", help="Parameters."
)
@click.option("--dry-run", is_flag=True, help="Say what would be queued, queue nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def seed(
    ctx: click.Context,
    sources: tuple[Path, ...],
    max_atoms: int | None,
    elements: frozenset[str] | None,
    exclude: frozenset[str] | None,
    min_gap: float | None,
    max_hull: float | None,
    space_group: int | None,
    limit: int | None,
    protocol: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Queue crystals, cheapest first.

    SOURCE is a CIF, POSCAR, pymatgen JSON or Alexandria file (plain or .bz2), or a directory of
    them; without one, the bundled crystals are taken. What the store holds already is skipped; a
    structure that cannot be treated is named with the reason, and the others are queued.

    \b
    farm seed --max-atoms 4
    farm seed alexandria.json.bz2 --elements Si,C,O --max-hull 0.05 --dry-run
    farm seed my_structures/ --protocol paper
    """
    from itertools import chain

    from farm.protocol import load_protocol
    from farm.seeding import plan_jobs, queue_jobs
    from farm.sources import Filters, read_source, select

    settings = settings_of(ctx)
    chosen = load_protocol(protocol)
    filters = Filters(
        max_atoms=max_atoms,
        elements=elements,
        exclude=exclude or frozenset(),
        min_gap_ev=min_gap,
        max_hull_ev=max_hull,
        space_group=space_group,
        limit=limit,
    )
    items = chain.from_iterable(read_source(source) for source in (sources or (None,)))
    report = plan_jobs(select(items, filters), chosen, _held(settings))
    if not dry_run:
        settings.home.mkdir(parents=True, exist_ok=True)
        with open_backlog(settings) as backlog:
            report = queue_jobs(report, backlog)
    if as_json:
        echo_json(report.to_dict())
    else:
        _print(report, dry_run=dry_run)
    # Nothing but refusals is a failure; some among others are told and that is all.
    return 1 if report.rejected and not (report.jobs or report.skipped) else 0


def _held(settings: Settings) -> frozenset[str]:
    from farm.store import open_store

    if not settings.store_path.is_file():
        return frozenset()
    with open_store(settings.store_path) as store:
        return frozenset(store.held_job_ids())


def _print(report: SeedReport, *, dry_run: bool) -> None:
    from rich.table import Table

    console = screen()
    if report.jobs:
        table = Table("material", "formula", "atoms", "predicted CPU s", box=None, header_style="bold")
        for job in report.jobs[:_ROWS_SHOWN]:
            crystal = job.crystal
            cells = (
                crystal.material_id,
                crystal.formula,
                str(crystal.n_atoms),
                f"{job.predicted_cpu_s:.1f}",
            )
            table.add_row(*cells)
        console.print(table)
        if len(report.jobs) > _ROWS_SHOWN:
            console.print(f"... and {len(report.jobs) - _ROWS_SHOWN} more")
    for item in report.rejected[:_ROWS_SHOWN]:
        console.print(f"[red]rejected[/] {item.source}: {item.reason}. {item.fix}")
    if len(report.rejected) > _ROWS_SHOWN:
        console.print(f"... and {len(report.rejected) - _ROWS_SHOWN} more rejected; `--json` lists all")
    reasons: dict[str, int] = {}
    for skipped in report.skipped:
        reasons[skipped.reason] = reasons.get(skipped.reason, 0) + 1
    for reason, n in reasons.items():
        console.print(f"skipped {n}: {reason}")
    hours = report.predicted_cpu_hours
    by_size = ", ".join(f"{h:.2f} h in cells of {n}" for n, h in hours.items())
    verb = "would queue" if dry_run else "queued"
    console.print(
        f"{verb} {len(report.jobs)}, rejected {len(report.rejected)}"
        + (f"; predicted {sum(hours.values()):.2f} CPU h ({by_size})" if hours else "")
    )
