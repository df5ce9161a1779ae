"""How long the current rows of a long store take to become a table.

Claim: a million rows in a few seconds, by column. Baseline: the same from ``store.rows()``, one by one.
The rows are made up and written straight into the table: neither spectra nor texts are read for a frame.

    python benchmarks/store_frame.py [--rows 1000000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import pandas as pd

from farm.errors import MissingProgramError
from farm.spectrum import energy_grid_ev
from farm.store import open_store
from farm.store.creation import create_file
from farm.store.layout import LIBRARY_BOUNDS, ROW_DTYPE


def make_store(path: Path, n_rows: int) -> None:
    """A store of such rows."""
    create_file(path, energy_grid_ev(11))
    append_rows(path, made_up_rows(n_rows))


def made_up_rows(n_rows: int) -> np.ndarray:
    """Rows with all fields, a tenth of them without RPA, one in fifty replaced by a later one."""
    number = np.arange(n_rows)
    rows = np.zeros(n_rows, dtype=ROW_DTYPE)
    rows["material_id"] = np.char.add(b"agm", np.char.zfill(number.astype("S10"), 10))
    rows["formula"] = np.array([b"Al2O3", b"LiF", b"CaTiO3", b"ZnS"])[number % 4]
    rows["protocol_hash"] = np.array([b"a" * 64, b"b" * 64])[number % 2]
    rows["engine"], rows["outcome"] = b"native", b"done"
    rows["n_atoms"], rows["n_steps"] = 1 + number % 8, 3
    for name in ("has_ipa", "has_rpa", "has_gap_indirect", "has_gap_direct", "has_similarity"):
        rows[name] = number % 10 > 0
    for name in ("gap_indirect_ev", "gap_direct_ev", "eps_inf_ipa", "eps_inf_rpa", "cpu_s", "wall_s"):
        rows[name] = 1 + number % 7
    rows["gmax_converged_mry"] = np.where(rows["has_rpa"][:, None], 4000, -1)
    rows["stored_unix_s"] = 1.7e9 + number
    rows["replaces"] = np.where(number % 50 == 49, number - 1, -1)
    return rows


def append_rows(path: Path, rows: np.ndarray) -> None:
    """Write rows into the table, without anything that belongs to them."""
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        start = int(file["committed"][0])
        file["rows"].resize(start + len(rows), axis=0)
        file["rows"][start:] = rows
        file["committed"][0] = start + len(rows)


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """The median of several runs."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return median(taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.h5"
        make_store(path, options.rows)
        opening = seconds(lambda: open_store(path).close(), options.repeats)
        with open_store(path) as store:
            by_row = seconds(lambda: pd.DataFrame(vars(row) for row in store.rows()), 1)
            print(f"{options.rows:,} rows, {store.indices().size:,} current; opening {opening:.2f} s")
            print(f"{'pandas, row by row':24} {by_row:7.2f} s")
            for kind in ("pandas", "polars"):
                try:
                    by_column = seconds(lambda kind=kind: store.frame(kind), options.repeats)
                except MissingProgramError as error:
                    print(f"{kind + ', by column':24} {error}")
                    continue
                print(
                    f"{kind + ', by column':24} {by_column:7.2f} s, {by_row / by_column:.0f} times as fast"
                )


if __name__ == "__main__":
    main()
