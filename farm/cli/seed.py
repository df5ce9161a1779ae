"""``farm seed``: structures in, jobs in the backlog."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from farm.console import duration, echo_json, open_backlog, screen, settings_of
from farm.errors import InputError
from farm.job import Engine
from farm.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from farm.job import Job
    from farm.seeding import SeedReport

Item = TypeVar("Item")

_ROWS_SHOWN = 20


def _elements(ctx: click.Context, parameter: click.Parameter, text: str | None) -> frozenset[str] | None:  # noqa: ARG001 - click's signature
    if text is None:
        return None
    from pymatgen.core import Element

    symbols = frozenset(symbol for symbol in text.replace(",", " ").split() if symbol)
    if unknown := sorted(symbol for symbol in symbols if not Element.is_valid_symbol(symbol)):
        raise click.BadParameter(f"no such element: {', '.join(unknown)}; write for example Si,O")
    return symbols


def _finite(ctx: click.Context, parameter: click.Parameter, number: float | None) -> float | None:  # noqa: ARG001 - click's signature
    # Nothing is above or below NaN: it would silently keep all or nothing.
    if number is not None and not math.isfinite(number):
        raise click.BadParameter("not a finite number")
    return number


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@click.option("--max-atoms", type=click.IntRange(1), help="Only cells of at most this many atoms.")
@click.option("--elements", callback=_elements, metavar="A,B,...", help="Only these elements.")
@click.option("--exclude", callback=_elements, metavar="A,B,...", help="Without these elements.")
@click.option(
    "--min-gap", type=float, callback=_finite, metavar="EV", help="Source's gap at least this, eV."
)
@click.option(
    "--max-hull",
    type=float,
    callback=_finite,
    metavar="EV",
    help="Source's energy above hull at most this, eV per atom.",
)
@click.option("--space-group", type=click.IntRange(1, 230), help="Only this space group number.")
@click.option("--limit", type=click.IntRange(1), help="Stop after this many crystals.")
@click.option(
    "--protocol", default="paper", show_default=True, metavar="paper|demo|FILE", help="Parameters."
)
@click.option(
    "--bands",
    type=click.Choice(["reduced-basis", "nscf"]),
    help="How the response gets its bands, in place of the protocol's; nscf to compare with.",
)
@click.option(
    "--engine",
    type=click.Choice([engine.value for engine in Engine]),
    default=Engine.NATIVE.value,
    show_default=True,
    help="Who computes the response. YAMBO takes its bands by nscf, on machines that have it.",
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
    bands: str | None,
    engine: str,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Queue crystals, cheapest first.

    SOURCE is a CIF, POSCAR, pymatgen JSON or Alexandria file (plain, .bz2 or .gz), or a directory
    of them; without one, the bundled crystals are taken. What the store holds already is skipped; a
    structure that cannot be treated is named with the reason, and the others are queued.

    \b
    farm seed --max-atoms 4
    farm seed alexandria.json.bz2 --elements Si,C,O --max-hull 0.05 --dry-run
    farm seed my_structures/ --protocol paper
    """
    from itertools import chain

    from farm.protocol import Protocol, load_protocol
    from farm.seeding import plan_jobs, queue_jobs
    from farm.sources import Filters, read_source, select

    settings = settings_of(ctx)
    chosen = load_protocol(protocol)
    by_yambo = Engine(engine) is Engine.YAMBO
    if by_yambo and bands == "reduced-basis":
        raise InputError("--engine yambo takes its bands by nscf", fix="Leave --bands out")
    if by_yambo and chosen.kgrid == "converged":
        raise InputError(
            "--engine yambo cannot converge the k-grid", fix="Take a protocol with kgrid = 'published'"
        )
    if by_yambo and chosen.bands != "nscf":
        bands = "nscf"
        screen(stderr=True).print("YAMBO: bands by a dense nscf run, in place of the protocol's")
    if bands is not None:
        chosen = Protocol.from_dict({**chosen.to_dict(), "bands": bands}, origin="--bands")
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
    report = plan_jobs(
        _counted(select(items, filters)), chosen, _held(settings) or frozenset(), Engine(engine)
    )
    if not dry_run:
        settings.home.mkdir(parents=True, exist_ok=True)
        with open_backlog(settings) as backlog:
            report = queue_jobs(report, backlog, partial(_held, settings))
    if as_json:
        echo_json(report.to_dict())
    else:
        _print(report, dry_run=dry_run)
    # Nothing but refusals is a failure; some among others are told and that is all.
    return 1 if report.rejected and not (report.jobs or report.skipped) else 0


def _held(settings: Settings) -> frozenset[str] | None:
    """The jobs the store has answered; None where there is no store to be seen."""
    from farm.store import open_store

    if not settings.store_path.is_file():
        return None
    with open_store(settings.store_path) as store:
        return frozenset(store.held_job_ids())


def _counted(items: Iterable[Item]) -> Iterator[Item]:
    """Pass items on and, on a terminal, say how many came: a database takes minutes."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    with console.status("reading structures") as line:
        for n, item in enumerate(items, start=1):
            line.update(f"{n} structures read and their cost predicted")
            yield item


def _print(report: SeedReport, *, dry_run: bool) -> None:
    from rich.markup import escape

    console = screen()
    if report.jobs:
        console.print(_table(report.jobs[:_ROWS_SHOWN]))
    if len(report.jobs) > _ROWS_SHOWN:
        console.print(f"... and {len(report.jobs) - _ROWS_SHOWN} more")
    for item in report.rejected[:_ROWS_SHOWN]:
        console.print(f"[red]rejected[/] {escape(f'{item.source}: {item.reason}. {item.fix}')}")
    if len(report.rejected) > _ROWS_SHOWN:
        console.print(f"... and {len(report.rejected) - _ROWS_SHOWN} more rejected; `--json` lists all")
    reasons: dict[str, int] = {}
    for skipped in report.skipped:
        reasons[skipped.reason] = reasons.get(skipped.reason, 0) + 1
    for reason, n in reasons.items():
        console.print(f"skipped {n}: {escape(reason)}")
    verb = "would queue" if dry_run else "queued"
    hours = report.predicted_cpu_hours
    by_size = ", ".join(f"{duration(h * 3600)} in cells of {n}" for n, h in hours.items())
    console.print(
        f"{verb} {len(report.jobs)}, skipped {len(report.skipped)}, rejected {len(report.rejected)}"
        + (f"; predicted CPU time {duration(sum(hours.values()) * 3600)} ({by_size})" if hours else "")
    )


def _table(jobs: list[Job]) -> Table:
    from rich.table import Table

    table = Table("material", "formula", box=None, header_style="bold")
    for name in ("atoms", "predicted CPU s"):
        table.add_column(name, justify="right")
    for job in jobs:
        crystal = job.crystal
        cost = f"{job.predicted_cpu_s:.1f}"
        table.add_row(crystal.material_id, crystal.formula, str(crystal.n_atoms), cost)
    return table
