"""``farm seed``: structures in, jobs in the backlog."""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli.choosing import element_symbols
from farm.console import open_backlog, screen, settings_of
from farm.errors import InputError
from farm.job import Engine

if TYPE_CHECKING:
    from farm.cli.seed_rungs import RungFlag
    from farm.protocol import Protocol

# Beyond so many the one that reads the files and queues the jobs has no time for more.
_MOST_PROCESSES = 8


def _finite(ctx: click.Context, parameter: click.Parameter, number: float | None) -> float | None:  # noqa: ARG001 - click's signature
    # Nothing is above or below NaN: it would silently keep all or nothing.
    if number is not None and not math.isfinite(number):
        raise click.BadParameter("not a finite number")
    return number


@click.command()
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@click.option("--max-atoms", type=click.IntRange(1), help="Only cells of at most this many atoms.")
@click.option("--elements", callback=element_symbols, metavar="A,B,...", help="Only these elements.")
@click.option("--exclude", callback=element_symbols, metavar="A,B,...", help="Without these elements.")
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
    "--rung",
    type=click.Choice(["rpa", "ipa", "auto"]),
    default="rpa",
    show_default=True,
    help="Spectra with local fields, without (IPA alone), or as the model tells of each crystal.",
)
@click.option(
    "--ipa-enough",
    type=float,
    callback=_finite,
    metavar="SC",
    help="With --rung auto: IPA is enough from this predicted SC[RPA;IPA] less its error.  [0.9]",
)
@click.option(
    "--engine",
    type=click.Choice([engine.value for engine in Engine]),
    default=Engine.NATIVE.value,
    show_default=True,
    help="Who computes the response. YAMBO takes its bands by nscf, on machines that have it.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help=f"How many parse a large source (default: one a core, {_MOST_PROCESSES} at most).",
)
@click.option(
    "--rejected",
    "rejected_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write every rejection to it, a JSON object a line.",
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
    rung: RungFlag,
    ipa_enough: float | None,
    engine: str,
    processes: int | None,
    rejected_path: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Queue crystals, cheapest first.

    SOURCE is a CIF, POSCAR, pymatgen JSON or Alexandria file (plain, .bz2 or .gz), or a directory
    of them; without one, the bundled crystals are taken. What the store holds already is skipped; a
    structure that cannot be treated is named with the reason, and the others are queued.

    Crystals are queued as they are read, so that workers can begin with the cheapest of them while a
    large source is still being read. Interrupted, killed, or without Redis in the middle: what was queued
    stays, and the same command goes on from there.

    With --rung ipa no local fields are computed, which is cheaper; what the farm has or computes at RPA is
    skipped, since it holds the IPA too. With --rung auto the model in use predicts how alike the two are.

    \b
    farm seed --max-atoms 4
    farm seed alexandria.json.bz2 --elements Si,C,O --max-hull 0.05 --dry-run
    farm seed alexandria.json.bz2 --rejected rejected.jsonl
    farm seed my_structures/ --protocol paper
    farm seed alexandria.json.bz2 --rung auto --ipa-enough 0.95
    """
    from farm.cli.seed_output import print_report
    from farm.cli.seed_run import StoreReader, Take, kept, rejections_to, run
    from farm.cli.seed_rungs import at_rung, check, chooser
    from farm.seeding import Queueing, SeedDocument, SeedReport, Terms
    from farm.sources import Filters

    settings = settings_of(ctx, ipa_enough_sc=ipa_enough)
    filters = Filters(
        max_atoms=max_atoms,
        elements=elements,
        exclude=exclude or frozenset(),
        min_gap_ev=min_gap,
        max_hull_ev=max_hull,
        space_group=space_group,
        limit=limit,
    )
    chosen = _protocol(protocol, bands, Engine(engine))
    check(rung, chosen, ipa_enough_given=ipa_enough is not None)
    choose = chooser(settings) if rung == "auto" else None
    terms = Terms(filters=filters, protocol=chosen, engine=Engine(engine))
    report, store = SeedReport(), StoreReader(settings.store_path)
    with ExitStack() as stack:
        takers: list[Take] = [report.add]
        if as_json:
            document = stack.enter_context(SeedDocument())
            takers.append(document.add)
        if rejected_path:
            takers.append(stack.enter_context(rejections_to(rejected_path)))
        queueing, cost_models = None, {}
        if not dry_run:
            settings.home.mkdir(parents=True, exist_ok=True)
            backlog = stack.enter_context(open_backlog(settings))
            queueing = Queueing(backlog, store.held_job_ids)
            cost_models = backlog.cost_models()
        terms, rungs = at_rung(rung, terms, choose, cost_models, store.failed_job_ids())
        signal_number = run(
            sources or (None,),
            terms,
            rungs,
            queueing,
            store.held_job_ids() or frozenset(),
            processes or min(len(os.sched_getaffinity(0)), _MOST_PROCESSES),
            report,
            takers,
        )
        if signal_number:
            click.echo(f"farm: stopped. {kept(report, dry_run=dry_run)}", err=True)
            return 128 + signal_number
        if as_json:
            document.write(sys.stdout, report.predicted_cpu_hours)
        else:
            print_report(report, dry_run=dry_run)
    # Nothing but refusals is a failure; some among others are told and that is all.
    return 1 if report.n_rejected and not (report.n_queued or report.n_skipped) else 0


def _protocol(name: str, bands: str | None, engine: Engine) -> Protocol:
    """The protocol that was asked for, with bands that the engine can take."""
    from farm.protocol import Protocol, load_protocol

    chosen = load_protocol(name)
    by_yambo = engine is Engine.YAMBO
    if by_yambo and bands == "reduced-basis":
        raise InputError("--engine yambo takes its bands by nscf", fix="Leave --bands out")
    if by_yambo and chosen.kgrid == "converged":
        raise InputError(
            "--engine yambo cannot converge the k-grid", fix="Take a protocol with kgrid = 'published'"
        )
    if by_yambo and chosen.bands != "nscf":
        bands = "nscf"
        screen(stderr=True).print("YAMBO: bands by a dense nscf run, in place of the protocol's")
    if bands is None:
        return chosen
    return Protocol.from_dict({**chosen.to_dict(), "bands": bands}, origin="--bands")
