"""How fast the store takes results in and gives spectra out.

Claims: a durable append (written, flushed, forced to disk) takes milliseconds, far less than any
calculation; reading for training runs at thousands of materials a second; a store of a million rows is
opened and filtered in less than a second. Baseline of reading: one row at a time, as a plain loop does.

    python benchmarks/store_throughput.py [--rows 300] [--long 1000000] [--directory DIR]
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from farm.bandstructure import BandStructure
from farm.crystal import Crystal
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.rung import Rung
from farm.spectrum import energy_grid_ev
from farm.store import Store, StoreWriter, open_store
from farm.store.creation import create_file
from farm.store.layout import LIBRARY_BOUNDS, ROW_DTYPE, SPECTRA

LADDER_MRY = (0, 2000, 4000, 6000)
# Of a band structure; a protocol asks for about as many points.
N_POINTS, N_BANDS = 64, 40


def make_bands() -> BandStructure:
    """Bands of free electrons along a line: as smooth as real ones, and as hard to compress."""
    k = np.linspace(0.0, 0.5, N_POINTS)
    vectors = np.random.default_rng(2).normal(size=(N_BANDS, 3)) * 3
    energies = np.sort(((vectors[None] + k[:, None, None]) ** 2).sum(axis=-1), axis=1)
    return BandStructure(
        labels=("GAMMA", "X"),
        corners=(0, N_POINTS - 1),
        kpoints=np.outer(k, [1.0, 0.0, 1.0]),
        distances=k,
        energies_ev=energies - energies[:, 3].max(),
        n_valence=4,
    )


def make_eps(number: int, protocol: Protocol) -> np.ndarray:
    """Oscillators by chance, as smooth as a real spectrum of this damping; two directions equal."""
    chance = np.random.default_rng(number)
    energies = energy_grid_ev(protocol.n_energies, protocol.energy_max_ev)
    centres_ev = chance.uniform(2, 18, size=(2, 400))
    strengths = chance.exponential(0.3, size=(2, 400))
    damped = centres_ev[..., None] ** 2 - energies**2 - 1j * protocol.damping_ev * energies
    xx, zz = 1 + (strengths[..., None] / damped).sum(axis=1)
    return np.stack([xx, xx, zz])


def make_result(
    number: int, protocol: Protocol, eps: np.ndarray, bands: BandStructure | None = None
) -> Result:
    """A result of the size of a real one: four rungs of 2001 energies unless the protocol is smaller."""
    crystal = Crystal(
        material_id=f"crystal-{number}",
        lattice_angstrom=((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
        species=("Mg", "O"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )
    ladder = tuple(
        LadderStep(
            gmax_mry=gmax, n_g=1 + gmax // 100, step_similarity=(0.9, 0.9, 0.9), eps=eps * (1 - 0.03 * i)
        )
        for i, gmax in enumerate(LADDER_MRY)
    )
    return Result(
        crystal=crystal,
        protocol=protocol.to_dict(),
        protocol_hash=protocol.hash,
        engine=Engine.NATIVE,
        outcome=Outcome.DONE,
        ladder=ladder,
        band_structure=bands,
    )


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def median_ms(action: Callable[[], object], n: int = 7) -> float:
    """Median wall time of ``n`` calls, milliseconds."""
    return 1e3 * statistics.median(seconds(action) for _ in range(n))


def read_imag(store: Store) -> None:
    """What a training reads."""
    for rung in Rung:
        store.eps_imag(rung, range(store.n_rows))


def measure_throughput(directory: Path, n_rows: int) -> list[tuple[str, float, str]]:
    """Appending and reading of rows of full size."""
    protocol = Protocol()
    spectra = [make_eps(i, protocol) for i in range(n_rows)]
    results = [make_result(i, protocol, eps) for i, eps in enumerate(spectra)]
    bands = make_bands()
    with_bands = [make_result(i, protocol, eps, bands) for i, eps in enumerate(spectra)]
    single, many, banded = (directory / f"{name}.h5" for name in ("single", "many", "banded"))
    with StoreWriter(single) as writer:
        one_by_one = [seconds(lambda r=result: writer.append(r)) for result in results]  # type: ignore[misc]
    with StoreWriter(many) as writer:
        batched = seconds(lambda: writer.append_many(results))
    with StoreWriter(banded) as writer:
        one_with_bands = [seconds(lambda r=result: writer.append(r)) for result in with_bands]  # type: ignore[misc]
    with open_store(banded) as store:
        only_bands = seconds(lambda: [store.band_structure(i) for i in range(n_rows)])

    def reading(read: Callable[[Store], object]) -> float:
        """Rows a second, from a store that was opened for it: what HDF5 keeps in memory does not count."""

        def once() -> float:
            with open_store(single) as store:
                return seconds(lambda: read(store))

        return n_rows / statistics.median(once() for _ in range(5))

    indices = np.random.default_rng(1).permutation(n_rows)
    with open_store(single) as store:
        whole = seconds(lambda: [store.result(i) for i in range(n_rows)])
    one_row = reading(lambda store: [store.spectra([i]) for i in range(n_rows)])
    bulk = reading(lambda store: store.spectra(range(n_rows)))
    return [
        ("append, durable", n_rows / sum(one_by_one), "rows/s"),
        ("append, durable, 99th percentile", 1e3 * float(np.quantile(one_by_one, 0.99)), "ms"),
        ("append, durable, with bands", n_rows / sum(one_with_bands), "rows/s"),
        ("append_many, durable", n_rows / batched, "rows/s"),
        ("read IPA and RPA one by one", one_row, "rows/s"),
        ("read IPA and RPA at once", bulk, "rows/s"),
        ("ratio", bulk / one_row, "times"),
        ("read them shuffled", reading(lambda store: store.spectra(indices)), "rows/s"),
        ("read Im eps of both, for training", reading(read_imag), "rows/s"),
        ("read whole results, verified", n_rows / whole, "rows/s"),
        ("read band structures", n_rows / only_bands, "rows/s"),
        ("file size", single.stat().st_size / n_rows / 1e3, "kB/row"),
        ("file size with bands", banded.stat().st_size / n_rows / 1e3, "kB/row"),
    ]


def measure_takeover(directory: Path) -> list[tuple[str, float, str]]:
    """How long the next writer takes to open a store whose writer was killed; the power never went."""
    path = directory / "single.h5"
    protocol = Protocol()

    def kill_a_writer(number: int) -> None:
        if (child := os.fork()) == 0:
            writer = StoreWriter(path)
            writer.append(make_result(number, protocol, make_eps(number, protocol)))
            os._exit(9)
        os.waitpid(child, 0)

    def opening_s(number: int, *, in_place: bool) -> float:
        kill_a_writer(number)
        if not in_place:
            path.with_name("single.h5.owner").unlink()
        return seconds(lambda: StoreWriter(path).close())

    by_copy = statistics.median(opening_s(10_000 + n, in_place=False) for n in range(3))
    in_place = statistics.median(opening_s(20_000 + n, in_place=True) for n in range(5))
    return [
        ("taken over after a kill, by copy", 1e3 * by_copy, "ms"),
        ("taken over after a kill, in place", 1e3 * in_place, "ms"),
        ("ratio", by_copy / in_place, "times"),
    ]


def make_sparse(path: Path, n_rows: int) -> None:
    """A store of so many rows whose spectra were never written: only the tables take room."""
    create_file(path, energy_grid_ev())
    chance = np.random.default_rng(0)
    rows = np.zeros(n_rows, dtype=ROW_DTYPE)
    rows["material_id"] = [f"agm{number:09d}".encode() for number in range(n_rows)]
    rows["formula"], rows["protocol_hash"], rows["engine"] = b"MgO", Protocol().hash.encode(), b"native"
    rows["outcome"] = np.where(chance.random(n_rows) < 0.9, b"done", b"metal")
    rows["n_atoms"], rows["gap_direct_ev"] = chance.integers(1, 20, n_rows), chance.exponential(2, n_rows)
    rows["has_ipa"] = rows["has_rpa"] = rows["has_gap_direct"] = rows["outcome"] == b"done"
    rows["replaces"] = -1
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        for name in ("rows", "text_offsets", "bands/paths", *SPECTRA):
            file[name].resize(n_rows, axis=0)
        file["rows"][:] = rows
        file["committed"][0] = n_rows


def measure_long(directory: Path, n_rows: int) -> list[tuple[str, float, str]]:
    """Opening, filtering and counting of a long store, each time anew."""
    path = directory / "long.h5"
    make_sparse(path, n_rows)

    def open_and_filter() -> None:
        with open_store(path) as store:
            chosen = store.select(outcome=Outcome.DONE, has_rpa=True, max_atoms=4)
            gaps_ev = store.column("gap_direct_ev")
            assert chosen.size and gaps_ev.size == n_rows  # noqa: S101, PT018 - that it is not for nothing

    def open_and_count() -> None:
        with open_store(path) as store:
            store.counts()

    with open_store(path) as store:
        return [
            (f"open and filter {n_rows:,} rows", median_ms(open_and_filter), "ms"),
            ("open and count them", median_ms(open_and_count), "ms"),
            ("their job ids", median_ms(store.held_job_ids, 3), "ms"),
            ("a table of them for pandas", median_ms(store.frame, 3), "ms"),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="on the file system to be measured")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        table = measure_throughput(directory, arguments.rows)
        table += measure_takeover(directory)
        table += measure_long(directory, arguments.long)
    for what, value, unit in table:
        print(f"{what:36s} {value:10.1f} {unit}")


if __name__ == "__main__":
    main()
