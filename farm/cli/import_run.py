"""``farm import`` while it runs: the store, the bar, signals, what broke off; and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from farm.cli.outputs import spare, spare_store
from farm.cli.stopping import caught_signals
from farm.console import screen
from farm.errors import ResourceError, StoreError
from farm.interchange.entry_files import entry_files, is_entry_file
from farm.interchange.importing import Append, Held, import_rows, read_held
from farm.interchange.report import N_SHOWN, ImportReport
from farm.interchange.terms import Terms
from farm.sources import Rejected
from farm.store import StoreWriter

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class ImportRun:
    """One import.

    rejected_path: gets every rejection, a JSON object a line
    dry_run:       nothing is stored
    """

    paths: Sequence[Path]
    terms: Terms
    store_path: Path
    n_processes: int
    rejected_path: Path | None
    dry_run: bool
    report: ImportReport = field(default_factory=ImportReport)

    def to_the_end(self) -> int:
        """Import; the number of the signal that ended it, or 0.

        Raises StoreLockedError when a writer has the store, StoreError and ResourceError with what stays,
        InputError for rejections that would be written over what is read.
        """
        if self.rejected_path:
            spare(self.rejected_path, self.paths, is_entry_file)
            spare_store(self.rejected_path, self.store_path)
        with ExitStack() as stack:
            rejected = stack.enter_context(self.rejected_path.open("w")) if self.rejected_path else None
            held, append = self._open_store(stack)
            show = stack.enter_context(self._bar())
            caught = stack.enter_context(caught_signals())
            rows = import_rows(
                self.paths, self.terms, held, append, n_processes=self.n_processes, told_of=show
            )
            stack.enter_context(closing(rows))
            try:
                for batch in rows:
                    self.report.add(batch)
                    if rejected:
                        refused = (row for row in batch if isinstance(row, Rejected))
                        rejected.writelines(json.dumps(vars(row)) + "\n" for row in refused)
                    if caught:
                        return caught[0]
            except (StoreError, ResourceError) as error:
                if caught and isinstance(error, ResourceError):
                    return caught[0]  # a signal to the whole group: the processes have ended of it already
                message = f"{error.message.rstrip('.')} ({self.kept()})"
                raise type(error)(message, fix=error.fix) from error
        return 0

    def kept(self) -> str:
        """What an end before the end leaves behind."""
        if self.dry_run:
            return "nothing was stored"
        return f"{len(self.report.imported):,} results are in and stay; the same command goes on from there"

    def _open_store(self, stack: ExitStack) -> tuple[Held, Append | None]:
        if self.dry_run:
            return read_held(self.store_path), None
        # First a writer: it locks the store and mends one whose writer was killed. HDF5 does not let one
        # process read a file that it is writing, so it is opened again when the store is read.
        StoreWriter(self.store_path).close()
        held = read_held(self.store_path)
        return held, stack.enter_context(StoreWriter(self.store_path)).append_many

    @contextmanager
    def _bar(self) -> Iterator[Callable[[int], None]]:
        """A bar by bytes of the files, on a terminal alone; what is yielded brings it on."""
        console = screen(stderr=True)
        if not console.is_terminal:
            yield lambda _: None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        files = (path for path in entry_files(self.paths) if isinstance(path, Path) and path.is_file())
        columns = (
            BarColumn(12),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("reading", total=sum(path.stat().st_size for path in files))

            def show(n_bytes: int) -> None:
                bar.update(task, advance=n_bytes, description=f"imported {self.report.sums},")

            yield show


def print_report(report: ImportReport, console: Console, *, dry_run: bool) -> None:
    """The first rejections, kinds, and sums."""
    for item in report.rejected[:N_SHOWN]:
        console.print(f"[red]rejected[/] {escape(f'{item.source}: {item.reason}. {item.fix}')}")
    if len(report.rejected) > N_SHOWN:
        n_more = len(report.rejected) - N_SHOWN
        console.print(
            f"... and {n_more:,} more rejected; `--json` and `--rejected FILE` list all. By kind:"
        )
        for fix, n in report.rejected_kinds.most_common():
            example = next(item for item in report.rejected if item.fix == fix)
            console.print(
                f"[red]rejected[/] {n:,}: {escape(f'{fix} (first {example.source}: {example.reason})')}"
            )
    for reason, n in report.skipped_kinds.most_common():
        console.print(f"skipped {n:,}: {escape(reason)}")
    console.print(f"{'would import' if dry_run else 'imported'} {report.sums}")
