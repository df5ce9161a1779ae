"""How fast a loader of torch gets its batches from the store.

Claim: thousands of materials a second, whatever the size of the store. Baselines: the same loader over the
store row by row, and over graphs and spectra that are all in memory, which is faster and needs the memory.
Materials are the bundled ones in cells of other sizes, with made-up spectra on the published grid.

    OMP_NUM_THREADS=1 python benchmarks/store_dataset.py [--rows 2000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from store_throughput import make_bands, make_eps, make_result

from farm.crystal import Crystal
from farm.protocol import Protocol
from farm.result import Result
from farm.sources.bundled import bundled_crystals
from farm.store import StoreWriter

with warnings.catch_warnings():
    # torch_geometric scripts some of its classes when imported, which torch now deprecates.
    warnings.simplefilter("ignore")
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

from trainer.data.dataset import load_dataset
from trainer.data.store_dataset import StoreDataset

BATCH = 64


class RowByRow:
    """A dataset that can only be asked for one item."""

    def __init__(self, dataset: StoreDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, item: int) -> Data:
        return self._dataset[item]


def results(n_rows: int) -> Iterator[Result]:
    """Each bundled crystal again and again, its cell a little larger each time."""
    protocol, bands = Protocol(), make_bands()
    crystals = [crystal for crystal in bundled_crystals() if isinstance(crystal, Crystal)]
    for number in range(n_rows):
        crystal = crystals[number % len(crystals)]
        lattice = tuple(
            tuple(x * (1 + 0.002 * (number // len(crystals))) for x in v) for v in crystal.lattice_angstrom
        )
        result = make_result(number, protocol, make_eps(number % 50, protocol), bands)
        yield replace(
            result,
            crystal=replace(crystal, material_id=f"crystal-{number:06d}", lattice_angstrom=lattice),
        )


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """The median of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return median(taken)


def epoch(dataset: Any, n_workers: int = 0) -> int:
    """Every batch once, in random order."""
    return sum(
        b.num_graphs for b in DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=n_workers)
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.h5"
        with StoreWriter(path) as writer:
            writer.append_many(results(options.rows))
        n, repeats = options.rows, options.repeats
        print(f"{n:,} materials, {path.stat().st_size / 1e6:.0f} MB, batches of {BATCH}")
        print(f"{'load_dataset, all in memory':34} {seconds(lambda: load_dataset(path), repeats):7.2f} s")
        print(f"{'StoreDataset, opened':34} {seconds(lambda: StoreDataset(path), repeats):7.2f} s")
        lazy = StoreDataset(path)
        held = [lazy[item] for item in range(n)]
        in_memory = seconds(lambda: epoch(held), repeats)
        print(f"{'an epoch, in memory':34} {in_memory:7.2f} s")
        for name, dataset, n_workers in (
            ("an epoch, from the store", lazy, 0),
            ("the same, 2 processes", lazy, 2),
            ("the same, row by row", RowByRow(lazy), 0),
        ):
            taken = seconds(lambda d=dataset, w=n_workers: epoch(d, w), repeats)
            rate = f"{n / taken:,.0f} materials/s, {taken / in_memory:.1f} times in memory"
            print(f"{name:34} {taken:7.2f} s, {rate}")


if __name__ == "__main__":
    main()
