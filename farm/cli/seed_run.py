"""``farm seed`` while it runs: batches to whoever takes them, signals, the store, what broke off."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from farm.cli.seed_output import progress
from farm.errors import BrokerError, ResourceError
from farm.seeding import Queueing, Row, Rungs, SeedReport, Terms, seed_rows
from farm.sources import Meter, Rejected, cut_source
from farm.store import open_store

Take = Callable[[Iterable[Row]], None]


def run(
    sources: Sequence[Path | None],
    terms: Terms,
    rungs: Rungs | None,
    queueing: Queueing | None,
    held_job_ids: frozenset[str],
    n_processes: int,
    report: SeedReport,
    takers: Sequence[Take],
) -> int:
    """Seed, and hand every batch to the takers; the number of the signal that ended it, or 0."""
    meter = Meter()
    items = chain.from_iterable(cut_source(source, meter) for source in sources)
    rows = seed_rows(
        items, terms, queueing=queueing, held_job_ids=held_job_ids, rungs=rungs, n_processes=n_processes
    )
    with _signals() as caught, progress(sources, meter, report) as show, closing(rows):
        try:
            for batch in rows:
                for take in takers:
                    take(batch)
                show()
                if caught:
                    return caught[0]
        except (BrokerError, ResourceError) as error:
            if caught and isinstance(error, ResourceError):
                return caught[0]  # a signal to the whole group: the processes have ended of it already
            left = kept(report, dry_run=queueing is None)
            raise type(error)(f"{error.message.rstrip('.')} ({left})", fix=error.fix) from error
    return 0


def kept(report: SeedReport, *, dry_run: bool) -> str:
    """What an end before the end leaves behind."""
    if dry_run:
        return "nothing was queued"
    return f"{report.n_queued:,} crystals were queued and stay; the same command goes on from there"


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that came and ask to stop, between two batches; a second one interrupts at once."""
    caught: list[int] = []

    def take(number: int, _: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def rejections_to(path: Path) -> Iterator[Take]:
    """Writes what is rejected to a file, a JSON object a line."""
    with path.open("w", encoding="utf-8") as file:

        def take(rows: Iterable[Row]) -> None:
            file.writelines(json.dumps(vars(row)) + "\n" for row in rows if isinstance(row, Rejected))

        yield take


class StoreReader:
    """Reads the store again only when its file has changed: a batch may ask each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._held: frozenset[str] = frozenset()
        self._failed: frozenset[str] = frozenset()

    def held_job_ids(self) -> frozenset[str] | None:
        """The jobs the store has answered; None where there is no store to be seen."""
        return self._held if self._read() else None

    def failed_job_ids(self) -> frozenset[str]:
        """Of these the ones that have failed."""
        return self._failed if self._read() else frozenset()

    def _read(self) -> bool:
        if not self._path.is_file():
            return False
        stat = self._path.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            with open_store(self._path) as store:
                self._held = frozenset(store.held_job_ids())
                self._failed = frozenset(store.failed_job_ids())
            self._stamp = stamp
        return True
