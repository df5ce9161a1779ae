"""How fast the store takes results in and gives spectra out.

Claims: a durable append (written, flushed, forced to disk) takes milliseconds, far less than any
calculation; reading for training runs at thousands of materials a second; `farm status` can count
a store of 10,000 rows in less than 50 ms.

    python benchmarks/store_throughput.py [--rows 300] [--counted 10000] [--directory DIR]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from farm.bandstructure import BandStructure
from farm.crystal import Crystal
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.spectrum import energy_grid_ev
from farm.store import StoreWriter, open_store

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
    """Oscillators by chance, as smooth as a real spectrum of this damping, two directions of three equal."""
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
    with open_store(single) as store:
        indices = np.random.default_rng(1).permutation(n_rows).tolist()
        bulk = seconds(lambda: store.spectra(range(n_rows)))
        shuffled = seconds(lambda: store.spectra(indices))
        whole = seconds(lambda: [store.result(i) for i in range(n_rows)])
    return [
        ("append, durable", n_rows / sum(one_by_one), "rows/s"),
        ("append, durable, 99th percentile", 1e3 * float(np.quantile(one_by_one, 0.99)), "ms"),
        ("append, durable, with bands", n_rows / sum(one_with_bands), "rows/s"),
        ("append_many, durable", n_rows / batched, "rows/s"),
        ("read IPA and RPA, in order", n_rows / bulk, "rows/s"),
        ("read IPA and RPA, shuffled", n_rows / shuffled, "rows/s"),
        ("read whole results, verified", n_rows / whole, "rows/s"),
        ("read band structures", n_rows / only_bands, "rows/s"),
        ("file size", single.stat().st_size / n_rows / 1e3, "kB/row"),
        ("file size with bands", banded.stat().st_size / n_rows / 1e3, "kB/row"),
    ]


def measure_counting(directory: Path, n_rows: int) -> list[tuple[str, float, str]]:
    """Opening, counting and listing of a long store (small spectra: only its length matters)."""
    protocol = Protocol(n_energies=11)
    eps = np.ones((3, 11), dtype=complex)
    path = directory / "long.h5"
    with StoreWriter(path) as writer:
        writer.append_many(make_result(i, protocol, eps) for i in range(n_rows))

    def count() -> None:
        with open_store(path) as store:
            store.counts()

    with open_store(path) as store:
        return [
            (f"open and count {n_rows} rows", median_ms(count), "ms"),
            ("count again", median_ms(store.counts), "ms"),
            ("job ids", median_ms(store.held_job_ids), "ms"),
            ("list all rows", median_ms(lambda: list(store.rows())), "ms"),
            ("snapshot hash", median_ms(store.snapshot_hash), "ms"),
            (
                "reopen for writing",
                1e3 * seconds(lambda: StoreWriter(directory / "single.h5").close()),
                "ms",
            ),
        ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--counted", type=int, default=10_000)
    parser.add_argument("--directory", type=Path, help="on the file system to be measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        table = measure_throughput(directory, arguments.rows)
        table += measure_counting(directory, arguments.counted)
    for what, value, unit in table:
        print(f"{what:36s} {value:10.1f} {unit}")


if __name__ == "__main__":
    main()
