"""What ``farm seed`` shows: a bar while it runs, tables and sums at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from farm.console import duration, screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from farm.seeding import Queued, SeedReport
    from farm.sources import Meter


@contextmanager
def progress(
    sources: Sequence[Path | None], meter: Meter, report: SeedReport
) -> Iterator[Callable[[], None]]:
    """A bar by bytes of the sources, on a terminal alone; what is yielded brings it up to date."""
    from farm.sources import source_bytes

    console = screen(stderr=True)
    total = sum(map(source_bytes, sources)) if console.is_terminal else 0
    if not total:  # nobody looks, or the bundled crystals alone
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(12),  # all fits 80 columns up to 999,999 structures
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading", total=total)

        def update() -> None:
            n = report.n_queued + report.n_skipped + report.n_rejected
            elapsed_s = bar.tasks[0].elapsed or 1.0
            counts = (
                f"{report.n_queued:,} queued, {report.n_skipped:,} skipped, {report.n_rejected:,} rejected"
            )
            description = f"{n / elapsed_s:,.0f}/s, {counts},"
            bar.update(task, completed=meter.n_bytes, description=description)

        yield update


def print_report(report: SeedReport, *, dry_run: bool) -> None:
    """The first of the queue, the first rejections, and sums."""
    console = screen()
    if report.cheapest:
        console.print(_table(report.cheapest))
    if report.n_queued > len(report.cheapest):
        console.print(f"... and {report.n_queued - len(report.cheapest):,} more")
    _print_rejections(report, console)
    for reason, n in report.skipped.items():
        console.print(f"skipped {n:,}: {escape(reason)}")
    verb = "would queue" if dry_run else "queued"
    _print_rungs(report, console, verb)
    hours = report.predicted_cpu_hours
    by_size = ", ".join(f"{duration(h * 3600)} in cells of {n}" for n, h in hours.items())
    console.print(
        f"{verb} {report.n_queued:,}, skipped {report.n_skipped:,}, rejected {report.n_rejected:,}"
        + (f"; predicted CPU time {duration(sum(hours.values()) * 3600)} ({by_size})" if hours else "")
    )


def _print_rungs(report: SeedReport, console: Console, verb: str) -> None:
    """How many at which rung and why, where not all is RPA as ever."""
    if not report.is_mixed:
        return
    for (rung, reason), n in report.rungs.most_common():
        because = f": {escape(reason)}" if reason else ""
        console.print(f"{verb} {n:,} at {rung.value.upper()}{because}")


def _print_rejections(report: SeedReport, console: Console) -> None:
    for item in report.first_rejected:
        console.print(f"[red]rejected[/] {escape(f'{item.source}: {item.reason}. {item.fix}')}")
    if report.n_rejected == len(report.first_rejected):
        return
    n_more = report.n_rejected - len(report.first_rejected)
    console.print(f"... and {n_more:,} more rejected; `--json` and `--rejected FILE` list all. By kind:")
    for fix, n in report.rejected.most_common():
        example = report.examples[fix]
        console.print(
            f"[red]rejected[/] {n:,}: {escape(f'{fix} (first {example.source}: {example.reason})')}"
        )


def _table(rows: Sequence[Queued]) -> Table:
    from rich.table import Table

    chosen = any(row.choice for row in rows)
    table = Table("material", "formula", box=None, header_style="bold")
    for name in ("atoms", "predicted CPU s", *(("predicted SC[RPA;IPA]", "rung") if chosen else ())):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row.material, row.formula, str(row.n_atoms), f"{row.predicted_cpu_s:.1f}"]
        if chosen:
            predicted = row.choice.predicted_similarity if row.choice else None
            cells += ["" if predicted is None else f"{predicted:.3f}", row.rung.value.upper()]
        table.add_row(*cells)
    return table
