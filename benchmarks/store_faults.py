"""What becomes of the store when its writer is killed, its disk fills, its file is cut or the power goes.

Claims: whatever happens, a row is there whole or not at all; what was acknowledged stays; nothing comes
twice; what a file that was cut off still holds is saved. Baseline for power cuts: the files by HDF5 alone.

    python benchmarks/store_faults.py [--kills 200] [--full 50] [--cuts 100] [--power 500]
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from store_throughput import make_bands, make_eps, make_result

from farm.errors import StoreError
from farm.protocol import Protocol
from farm.result import Result
from farm.store import StoreWriter, open_store
from farm.store.copying import sound_record
from farm.store.layout import check_layout
from farm.store.ledger import ledger_of
from farm.store.maintenance import repair
from farm.store.opening import open_for_reading
from farm.store.record import Record
from farm.store.spool import spool_of
from farm.store.store_file import StoreFile

PROTOCOL = Protocol(n_energies=401)
BANDS = make_bands()
PAGE_BYTES = 4096


def result_of(number: int) -> Result:
    """Everything in it follows from the number; every other one has bands."""
    return make_result(number, PROTOCOL, make_eps(number, PROTOCOL), BANDS if number % 2 else None)


@dataclass
class Tally:
    """What went wrong, over all trials; ``bad``: rows that are not what was appended."""

    trials: int = 0
    stored: int = 0
    bad: int = 0
    lost: int = 0
    twice: int = 0
    unreadable: int = 0

    def count(self, path: Path, acknowledged: int) -> None:
        """Compare a store with what was acknowledged: the numbers below ``acknowledged``."""
        with open_store(path) as store:
            ids = [row.material_id for row in store.rows(superseded=True)]
            for row in store.rows():
                number = int(row.material_id.removeprefix("crystal-"))
                self.bad += store.result(row.index).pack() != result_of(number).pack()
        self.stored += len(ids)
        self.twice += len(ids) - len(set(ids))
        self.lost += len({f"crystal-{n}" for n in range(acknowledged)} - set(ids))


def append_from(path: Path, first: int, acknowledge: Any, limit_bytes: int | None) -> None:
    """Append until killed, or the file may not grow any more."""
    if limit_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    acknowledge.send(first)
    try:
        with StoreWriter(path) as writer:
            for number in range(first, 1_000_000):
                writer.append(result_of(number))
                acknowledge.send(number + 1)
    except StoreError:
        os._exit(3)  # as a process that cannot clean up either


def run_writer(path: Path, first: int, wait_s: float | None, limit_bytes: int | None = None) -> int:
    """A writer that is killed after a while, or ends by itself; how many are acknowledged then."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=append_from, args=(path, first, theirs, limit_bytes))
    child.start()
    theirs.close()
    acknowledged = ours.recv()
    if wait_s is not None:
        time.sleep(wait_s)
        child.kill()
    try:
        while True:
            acknowledged = ours.recv()
    except EOFError:
        child.join()
        return acknowledged


def kills(directory: Path, n_trials: int, chance: random.Random) -> Tally:
    """kill -9 at random moments, of opening, appending, recovering; one store through all of it."""
    path, acknowledged, tally = directory / "spectra.h5", 0, Tally()
    for _ in range(n_trials):
        acknowledged = max(acknowledged, run_writer(path, acknowledged, chance.uniform(0.0, 0.8)))
        tally.trials += 1
    StoreWriter(path).close()
    tally.count(path, acknowledged)
    return tally


def full_disks(directory: Path, n_trials: int, chance: random.Random) -> Tally:
    """The disk refuses in mid-append, at random sizes; then there is room again."""
    tally = Tally()
    for trial in range(n_trials):
        path = directory / str(trial) / "spectra.h5"
        path.parent.mkdir()
        first = run_writer(path, 0, 0.15)
        size = path.stat().st_size if path.exists() else 200_000
        acknowledged = max(first, run_writer(path, first, None, size + chance.randrange(1000, 300_000)))
        StoreWriter(path).close()
        tally.trials += 1
        tally.count(path, acknowledged)
    return tally


def cut_files(directory: Path, n_trials: int, chance: random.Random) -> tuple[Tally, float]:
    """A closed file cut off somewhere; of the rows that lay before the cut, the share that was saved."""
    whole, tally, n_saved = directory / "spectra.h5", Tally(), 0
    n_rows = 40
    with StoreWriter(whole) as writer:
        for number in range(n_rows):
            writer.append(result_of(number))
    content = whole.read_bytes()
    for trial in range(n_trials):
        path = directory / str(trial) / "spectra.h5"
        path.parent.mkdir()
        shutil.copy(ledger_of(whole), ledger_of(path))
        path.write_bytes(content[: chance.randrange(1, len(content))])
        tally.trials += 1
        try:
            repair(path)
        except StoreError:
            tally.unreadable += 1
            continue
        tally.count(path, 0)
        with open_store(path) as store:
            n_saved += store.n_rows
    return tally, n_saved / (n_rows * n_trials)


def states_of_appends(path: Path, n_rows: int) -> list[tuple[int, list[bytes], list[bytes]]]:
    """Per append, the states that the store and its ledger go through between two forced writes."""
    appends = []
    flush = StoreFile.flush
    with StoreWriter(path) as writer:
        writer.append_many(result_of(number) for number in range(n_rows))
        for number in range(n_rows, n_rows + 20):
            store, ledger = [path.read_bytes()], [ledger_of(path).read_bytes()]

            def flush_and_look(file: StoreFile, seen: list[bytes] = store) -> None:
                flush(file)
                seen.append(path.read_bytes())

            StoreFile.flush = flush_and_look  # type: ignore[method-assign]
            writer.append(result_of(number))
            StoreFile.flush = flush  # type: ignore[method-assign]
            ledger.append(ledger_of(path).read_bytes())
            appends.append((number, store, ledger))
    return appends


def torn(states: list[bytes], chance: random.Random) -> bytes:
    """What a power cut may leave of a file: each page of any state, the length of any, zeros beyond."""
    length = chance.choice(
        [len(states[0]), len(states[-1]), chance.randrange(len(states[0]), len(states[-1]) + 1)]
    )
    pages = []
    for at in range(0, length, PAGE_BYTES):
        page = chance.choice(states)[at : at + PAGE_BYTES]
        pages.append(page + bytes(PAGE_BYTES - len(page)))
    return b"".join(pages)[:length]


def read_by_hdf5(path: Path, n_rows: int) -> bool:
    """Whether HDF5 opens the file and reads that many sound rows."""
    try:
        with open_for_reading(path, damaged=True) as file:
            check_layout(path, file)
            return all(isinstance(sound_record(file, row), Record) for row in range(n_rows))
    except (StoreError, OSError, RuntimeError, KeyError, ValueError):
        return False


def power_cuts(directory: Path, n_trials: int, chance: random.Random, *, with_ledger: bool) -> Tally:
    """Pages that were not forced to disk are old or new, one by one; the row in flight is in the spool."""
    (directory / "whole").mkdir()
    appends = states_of_appends(directory / "whole" / "spectra.h5", 60)
    tally = Tally()
    for trial in range(n_trials):
        number, store, ledger = appends[trial % len(appends)]
        path = directory / str(trial) / "spectra.h5"
        path.parent.mkdir()
        path.write_bytes(torn(store, chance))
        if not with_ledger:
            tally.trials += 1
            tally.unreadable += not read_by_hdf5(path, number)
            continue
        ledger_of(path).write_bytes(torn(ledger, chance))
        spool_of(path).mkdir()
        (spool_of(path) / "1.result").write_bytes(result_of(number).pack())
        tally.trials += 1
        try:
            StoreWriter(path).close()
            tally.count(path, number + 1)
        except StoreError:
            tally.unreadable += 1
        shutil.rmtree(path.parent)
    return tally


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--full", type=int, default=50)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--power", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = [field.name for field in fields(Tally)]
    print(f"{'':34s}" + "".join(f"{name:>12s}" for name in names), flush=True)

    def row(what: str, trial: Callable[[Path, random.Random], Tally]) -> None:
        with tempfile.TemporaryDirectory() as name:
            tally = trial(Path(name), random.Random(arguments.seed))  # noqa: S311 - reproducible
        print(f"{what:34s}" + "".join(f"{getattr(tally, field):12d}" for field in names), flush=True)

    def cut(directory: Path, chance: random.Random) -> Tally:
        nonlocal saved
        tally, saved = cut_files(directory, arguments.cuts, chance)
        return tally

    saved = 0.0
    row("writer killed (-9)", lambda d, c: kills(d, arguments.kills, c))
    row("disk full in mid-append", lambda d, c: full_disks(d, arguments.full, c))
    row("file cut off anywhere", cut)
    row("power cut", lambda d, c: power_cuts(d, arguments.power, c, with_ledger=True))
    row("power cut, HDF5 alone", lambda d, c: power_cuts(d, arguments.power // 5, c, with_ledger=False))
    print(f"of a file cut off anywhere, {saved:.0%} of all rows were saved (half lie before the cut)")


if __name__ == "__main__":
    main()
