"""``farm seed`` while it runs: batches to whoever takes them, signals, the store, what broke off."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farm.cli.outputs import spare, spare_store
from farm.cli.seed_output import print_report, progress
from farm.cli.seed_rungs import at_rung, check, chooser
from farm.cli.seed_store import StoreReader
from farm.cli.stopping import caught_signals
from farm.console import open_backlog
from farm.errors import BrokerError, ResourceError, SourceError
from farm.job import Engine
from farm.seeding import Queueing, Row, SeedDocument, SeedReport, Terms, seed_rows
from farm.sources import Rejected, Sieve, is_structure_file

if TYPE_CHECKING:
    from farm.cli.seed_request import Request
    from farm.cli.seed_sources import Reading
    from farm.settings import Settings

Take = Callable[[Iterable[Row]], None]


def seed_request(request: Request, settings: Settings) -> int:
    """Do what is asked, and say what came of it; the exit code."""
    protocol, reading = request.chosen_protocol(), request.reading()
    check(request.rung, protocol, ipa_enough_given=request.ipa_enough is not None)
    if request.rejected_path:
        spare(request.rejected_path, request.paths, is_structure_file)
        spare_store(request.rejected_path, settings.store_path)
    choose = chooser(settings) if request.rung == "auto" else None
    terms = Terms(filters=request.filters(), protocol=protocol, engine=Engine(request.engine))
    report, store = SeedReport(), StoreReader(settings.store_path)
    with ExitStack() as stack:
        takers: list[Take] = [report.add]
        if request.as_json:
            document = stack.enter_context(SeedDocument())
            takers.append(document.add)
        if request.rejected_path:
            takers.append(stack.enter_context(rejections_to(request.rejected_path)))
        queueing, cost_models = None, {}
        if not request.dry_run:
            settings.home.mkdir(parents=True, exist_ok=True)
            backlog = stack.enter_context(open_backlog(settings))
            queueing = Queueing(backlog, store.held_job_ids)
            cost_models = backlog.cost_models()
        terms, rungs = at_rung(request.rung, terms, choose, cost_models, store.failed_job_ids())
        rows = seed_rows(
            reading,
            terms,
            queueing=queueing,
            held_job_ids=store.held_job_ids() or frozenset(),
            rungs=rungs,
            n_processes=request.n_processes,
            sieve=Sieve(request.limit, store.distinct(protocol.hash) if request.distinct else None),
        )
        if signal_number := run(rows, reading, report, takers, dry_run=request.dry_run):
            click.echo(f"farm: stopped. {kept(report, dry_run=request.dry_run)}", err=True)
            return 128 + signal_number
        if request.as_json:
            document.write(sys.stdout, report.predicted_cpu_hours)
        else:
            print_report(report, dry_run=request.dry_run)
    # Nothing but refusals is a failure; some among others are told and that is all.
    return 1 if report.n_rejected and not (report.n_queued or report.n_skipped) else 0


def run(
    rows: Generator[list[Row], None, None],
    reading: Reading,
    report: SeedReport,
    takers: Sequence[Take],
    *,
    dry_run: bool,
) -> int:
    """Seed, and hand every batch to the takers; the number of the signal that ended it, or 0.

    Raises BrokerError, ResourceError and SourceError, each with what is queued by then.
    """

    def end_waiting() -> None:
        reading.stop = True

    with caught_signals(end_waiting) as caught, progress(reading, report) as show, closing(rows):
        try:
            for batch in rows:
                for take in takers:
                    take(batch)
                show()
                if caught:
                    return caught[0]
            if reading.broken is not None and not caught:
                raise reading.broken
        except (BrokerError, ResourceError, SourceError) as error:
            if caught and isinstance(error, ResourceError):
                return caught[0]  # a signal to the whole group: the processes have ended of it already
            left = kept(report, dry_run=dry_run)
            raise type(error)(f"{error.message.rstrip('.')} ({left})", fix=error.fix) from error
        return caught[0] if caught else 0


def kept(report: SeedReport, *, dry_run: bool) -> str:
    """What an end before the end leaves behind."""
    if dry_run:
        return "nothing was queued"
    return f"{report.n_queued:,} crystals were queued and stay; the same command goes on from there"


@contextmanager
def rejections_to(path: Path) -> Iterator[Take]:
    """Writes what is rejected to a file, a JSON object a line."""
    with path.open("w", encoding="utf-8") as file:

        def take(rows: Iterable[Row]) -> None:
            try:
                file.writelines(json.dumps(vars(row)) + "\n" for row in rows if isinstance(row, Rejected))
                file.flush()
            except OSError as error:  # a full disk is said without the name of the file
                with suppress(OSError):
                    file.close()  # else the end of the block says it again
                raise OSError(error.errno, error.strerror, str(path)) from error

        yield take
