"""``farm report``: what all results cost, which remedies worked, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import duration, echo_json, screen, settings_of
from farm.settings import Settings
from farm.tally import ADDITIVE, ALL_STAGES, MEASURES, Told, tally

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = {"cpu_s": "CPU", "wall_s": "wall", "peak_memory_mb": "peak memory", "disk_mb": "disk"}
_UNNAMED = "(not named)"
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only results stored since then, UTC.",
)
@click.option("--html", type=_FILE, help="Write the page of a checkpoint instead: numbers, figures, map.")
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the figures of that page as PNG and SVG into a directory.",
)
@click.option("--checkpoint", metavar="VERSION|PATH", help="Of which one (default: the latest).")
@click.option(
    "--curve", type=_FILE, help="A learning curve to draw, as `farm train curve --json` prints it."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def report(
    ctx: click.Context,
    since: datetime | None,
    html: Path | None,
    figures: Path | None,
    checkpoint: str | None,
    curve: Path | None,
    as_json: bool,
) -> None:
    """Sum up the store: outcomes, cost by stage, remedies, and why the rest is not done.

    Of several results of one job the newest counts. Disk is the largest step of a stage. A remedy
    worked when the step was good with it and with no other after it.

    With --html or --figures it tells of a checkpoint instead: how near its spectra are on the materials it
    has not seen, its learning curve, examples, and a map of all materials. The page is one file that needs
    no network. What cannot be had is named, on the page too; the exit code is 1 then.

    \b
    farm report
    farm report --since 2026-01-31
    farm report --json | jq .remedies
    farm report --html report.html
    farm report --figures figures --checkpoint 0003-8be2d1
    """
    settings = settings_of(ctx)
    if html is not None or figures is not None:
        if since is not None:
            raise click.UsageError("--since is of the sums over the store, not of a page")
        from farm.cli.outputs import spare, spare_store
        from farm.cli.report_page import write_page

        if html is not None:
            spare(html, [curve] if curve else [])
            spare_store(html, settings.store_path)
        write_page(ctx, settings, as_json, html=html, figures=figures, checkpoint=checkpoint, curve=curve)
        return
    if checkpoint is not None or curve is not None:
        raise click.UsageError("--checkpoint and --curve are of a page: name it with --html or --figures")
    document = tally(_told(settings, since))
    if as_json:
        echo_json(document)
    elif document["results"]:
        _print(document)
    else:
        when = f" since {since:%Y-%m-%d %H:%M}" if since else ""
        click.echo(
            f"{settings.store_path} holds no results{when}: `farm seed` queues crystals, "
            "`farm up` computes them."
        )


def _told(settings: Settings, since: datetime | None) -> Iterator[Told]:
    from farm.store import open_store

    if not settings.store_path.is_file():
        return
    earliest_unix_s = since.replace(tzinfo=UTC).timestamp() if since else 0.0
    columns = ("stages", "steps", "corrections", "diagnosis", "advice", "reason")
    with open_store(settings.store_path) as store:
        rows = zip(
            store.column("stored_unix_s").tolist(),
            store.column("material_id").tolist(),
            store.column("outcome").tolist(),
            store.texts(*columns),
            strict=True,
        )
        for stored_unix_s, material, outcome, texts in rows:
            if stored_unix_s >= earliest_unix_s:
                yield Told(material.decode(), outcome.decode(), *texts)


def _print(document: dict[str, Any]) -> None:
    console = screen()
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in document["outcomes"].items() if n)
    console.print(f"{document['results']} results: {outcomes}")
    # Metals by their electron count alone cost nothing.
    if document["stages"]:
        console.print("", _costs(document["stages"]), sep="\n")
    remedies = document["remedies"]
    console.print("", _remedies(remedies) if remedies else "no remedy was tried", sep="\n")
    if document["not_done"]:
        console.print("", _not_done(document["not_done"]), sep="\n")


def _costs(stages: list[dict[str, Any]]) -> Table:
    table = _table("", "stage", "results", "median", "90 %", "largest", "sum", "share", left=2)
    for measure in MEASURES:
        title = _TITLES[measure]
        for stage in stages:
            found = stage[measure]
            if found is None:
                continue
            show = _seconds if measure in ADDITIVE else _megabytes
            name = "all stages" if stage["stage"] == ALL_STAGES else stage["stage"]
            summed = (_seconds(found["sum"]), f"{found['share']:.0%}") if measure in ADDITIVE else ()
            shown = (show(found[key]) for key in ("median", "p90", "max"))
            table.add_row(f"[bold]{title}", name, str(found["results"]), *shown, *summed)
            title = ""
    return table


def _remedies(remedies: list[dict[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("diagnosis", "remedy", "tried", "worked", "share", left=2)
    for remedy in remedies:
        table.add_row(
            remedy["diagnosis"],
            escape(remedy["remedy"]),
            str(remedy["tried"]),
            *_worked(remedy),
        )
    return table


def _worked(remedy: dict[str, Any]) -> tuple[str, str]:
    """How often, and in what share of the cases in which that is known."""
    if remedy["share"] is None:
        return "", "not known"
    known = remedy["tried"] - remedy["not_known"]
    of_known = f" of {known}" if remedy["not_known"] else ""
    return str(remedy["worked"]), f"{remedy['share']:.0%}{of_known}"


def _not_done(not_done: list[dict[str, Any]]) -> Table:
    from rich.markup import escape

    table = _table("outcome", "diagnosis", "count", left=2)
    for name in ("example", "advice, or what the example says"):
        table.add_column(name, overflow="fold")
    for ended in not_done:
        table.add_row(
            ended["outcome"],
            ended["diagnosis"] or _UNNAMED,
            str(ended["count"]),
            escape(ended["example"]),
            escape(ended["advice"] or ended["reason"]),
        )
    return table


def _table(*columns: str, left: int) -> Table:
    """A table whose first ``left`` columns are words and whose others are numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i < left else "right")
    return table


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def _megabytes(mb: float) -> str:
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.1f} MB"
