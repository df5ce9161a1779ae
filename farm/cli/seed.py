"""``farm seed``: structures in, jobs in the backlog."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from farm.cli.choosing import element_symbols
from farm.cli.seed_sources import source_options
from farm.console import settings_of
from farm.job import Engine


def _finite(ctx: click.Context, parameter: click.Parameter, number: float | None) -> float | None:  # noqa: ARG001 - click's signature
    # Nothing is above or below NaN: it would silently keep all or nothing.
    if number is not None and not math.isfinite(number):
        raise click.BadParameter("not a finite number")
    return number


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@source_options
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
@click.option(
    "--distinct", is_flag=True, help="Skip what has the same structure as another, or as one in the store."
)
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
    help="How many parse a large source (default: one a core, 8 at most).",
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
def seed(ctx: click.Context, /, **options: Any) -> int:
    """Queue crystals, cheapest first.

    SOURCE is a CIF, POSCAR, pymatgen JSON or Alexandria file (plain, .bz2 or .gz), an ASE database (.db or
    .json), or a directory of them; without one, the bundled crystals are taken. With --source they come
    from a database over the network: optimade asks any OPTIMADE server, by --provider or --base-url, page
    by page; mp asks the Materials Project with the key in MP_API_KEY. Filters are told to the server where
    it can apply them, and applied again here.

    What the store holds already is skipped; a structure that cannot be treated is named with the reason,
    and the others are queued. The same crystal under another name is queued once; with --distinct also one
    that pymatgen's StructureMatcher takes for the same (with its tolerances, volumes not scaled).

    Crystals are queued as they are read, so that workers can begin with the cheapest of them while a
    large source is still being read. Interrupted, killed, without Redis or without its server in the
    middle: what was queued stays, and the same command goes on from there.

    With --rung ipa no local fields are computed, which is cheaper; what the farm has or computes at RPA is
    skipped, since it holds the IPA too. With --rung auto the model in use predicts how alike the two are.

    \b
    farm seed --max-atoms 4
    farm seed alexandria.json.bz2 --elements Si,C,O --max-hull 0.05 --dry-run
    farm seed alexandria.json.bz2 --rejected rejected.jsonl
    farm seed my_structures/ my.db --protocol paper --distinct
    farm seed alexandria.json.bz2 --rung auto --ipa-enough 0.95
    farm seed --source optimade --provider alexandria --filter 'elements HAS ALL "Si","O"' --max-atoms 4
    farm seed --source optimade --base-url http://localhost:5000 --exclude Pb
    farm seed --source mp --max-atoms 4 --min-gap 0.5
    """
    from farm.cli.seed_request import Request
    from farm.cli.seed_run import seed_request

    request = Request(**options)
    return seed_request(request, settings_of(ctx, ipa_enough_sc=request.ipa_enough))
