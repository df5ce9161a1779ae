"""What ``farm seed`` shows: a bar while it runs, tables and sums at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape

from farm.console import duration, screen

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from farm.cli.seed_sources import Reading
    from farm.seeding import Queued, SeedReport


@contextmanager
def progress(reading: Reading, report: SeedReport) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, by bytes of files or entries of databases; what is yielded updates it."""
    console, meter = screen(stderr=True), reading.meter
    looked_at = console.is_terminal
    n_bytes = reading.count_bytes() if looked_at and reading.count_bytes else 0
    if not looked_at or (reading.count_bytes and not n_bytes):
        yield lambda: None  # nobody looks, or the bundled crystals alone
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
        task = bar.add_task("reading", total=n_bytes or None)

        def update() -> None:
            n = report.n_queued + report.n_skipped + report.n_rejected
            elapsed_s = bar.tasks[0].elapsed or 1.0
            counts = (
                f"{report.n_queued:,} queued, {report.n_skipped:,} skipped, {report.n_rejected:,} rejected"
            )
            description = f"{n / elapsed_s:,.0f}/s, {counts},"
            total = n_bytes or meter.n_entries_expected
            bar.update(
                task,
                total=total,
                completed=meter.n_bytes if n_bytes else meter.n_entries,
                description=description,
            )

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
