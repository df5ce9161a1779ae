"""Published spectra into a store and out again: seconds, sizes, and whether every number is the same.

    OMP_NUM_THREADS=1 python benchmarks/interchange.py [PUBLISHED_DIR] [--files 600] [--directory DIR]

Claims: the 6,000 spectra of the published database come in within a minute on two cores, take less room
than the same files gzipped, are read ten times as fast as from JSON, and go out with every number to the
last bit.

PUBLISHED_DIR (default $PUBLISHED_FORMAT) has some files of the published database. From these are made as
many as are asked for: new ids, spectra scaled by up to 5 % and printed with six digits again. Baselines, in
the same run: the same files gzipped (level 6), and read with the json of Python and with orjson into the
same arrays. The page cache is warm for all.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from farm.store import open_store

SPECTRA = ("ipa_epsI", "ipa_epsR", "rpa_epsI", "rpa_epsR")
KPPA = "600"


def make_files(published: Path, directory: Path, n_files: int) -> None:
    """Files like the published ones, ``n_files`` of them."""
    entries = [json.loads(path.read_bytes()) for path in sorted(published.glob("*.json"))]
    chance = random.Random(1)  # noqa: S311 - no secret
    directory.mkdir()
    for number in range(n_files):
        entry = orjson.loads(orjson.dumps(entries[number % len(entries)]))
        name = f"agm9{number:08d}"
        entry["data"]["mat_id"] = entry["entry_id"] = name
        scale = chance.uniform(0.95, 1.05)
        for field in SPECTRA:
            for key, numbers in entry["data"][field].items():
                entry["data"][field][key] = [float(f"{x * scale:.6g}") for x in numbers]
        (directory / f"{name}.json").write_text(json.dumps(entry))


def measured(*arguments: str) -> tuple[float, float, str]:
    """Wall and CPU seconds of a ``farm`` command with all its processes, and what it printed last."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli.main", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, done.stdout.splitlines()[-1]


def seconds(action: Callable[[], Any], n_times: int = 3) -> float:
    """Of the fastest of a few runs."""
    taken = []
    for _ in range(n_times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return min(taken)


def read_json(paths: list[Path], decode: Callable[[bytes], Any]) -> np.ndarray:
    """IPA and RPA as the store gives them: complex64 ``[rung, material, direction, energy]``."""
    eps = np.empty((2, len(paths), 3, 2001), dtype=np.complex64)
    for i, path in enumerate(paths):
        content = path.read_bytes()
        data = decode(gzip.decompress(content) if path.suffix == ".gz" else content)["data"]
        for rung, name in enumerate(("ipa", "rpa")):
            for axis, key in enumerate(("xx", "yy", "zz")):
                source = key if key in data[f"{name}_epsR"] else "xx"
                eps.real[rung, i, axis] = data[f"{name}_epsR"][source]
                eps.imag[rung, i, axis] = data[f"{name}_epsI"][source]
    return eps


def read_store(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """IPA and RPA of all materials."""
    with open_store(path) as store:
        return store.spectra(store.select(has_rpa=True).tolist())


def n_different(first: Path, second: Path) -> int:
    """Files whose numbers, or anything else, are not the same."""
    option = orjson.OPT_SORT_KEYS

    def canonical(path: Path) -> bytes:
        return orjson.dumps(orjson.loads(path.read_bytes()), option=option)

    return sum(canonical(path) != canonical(second / path.name) for path in first.glob("*.json"))


def main() -> None:
    """Make the files, take them through, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published", type=Path, nargs="?", default=os.environ.get("PUBLISHED_FORMAT"))
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--directory", type=Path, help="where to work; default: a temporary one")
    arguments = parser.parse_args()
    if not arguments.published or not Path(arguments.published).is_dir():
        print("skipped: needs a directory with files of the published database ($PUBLISHED_FORMAT)")
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        report(Path(arguments.published), Path(directory), arguments.files)


def report(published: Path, directory: Path, n_files: int) -> None:
    """Everything that is measured, on ``n_files`` files."""
    source, home = directory / "published", directory / "home"
    make_files(published, source, n_files)
    paths = sorted(source.glob("*.json"))
    gz = directory / "gz"
    gz.mkdir()
    for path in paths:
        (gz / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 6))
    zipped = sorted(gz.glob("*.gz"))
    here = ("--home", str(home))
    print(f"{n_files} files, {len(os.sched_getaffinity(0))} cores\n")
    print(f"{'':<44}{'wall s':>8}{'CPU s':>8}{'files/s':>9}")
    for name, command in (
        ("farm import", ("import", str(source), "--kppa", KPPA)),
        ("farm import again: nothing new", ("import", str(source), "--kppa", KPPA)),
        ("farm export, a directory of JSON", ("export", str(directory / "out"))),
        ("farm export, Parquet", ("export", str(directory / "s.parquet"))),
        ("farm export, npz", ("export", str(directory / "s.npz"))),
    ):
        wall_s, cpu_s, told = measured(*here, *command)
        told = told if "import" in name else ""
        print(f"{name:<44}{wall_s:>8.1f}{cpu_s:>8.1f}{n_files / wall_s:>9.0f}   {told}")
    packed_home = directory / "packed"
    packed_home.mkdir()
    shutil.copy(home / "spectra.h5", packed_home)
    measured("--home", str(packed_home), "store", "compact", "--packed")
    differ = n_different(source, directory / "out")
    print(f"\nfiles that came out with another number than they went in with: {differ}\n")
    print_sizes(paths, zipped, directory)
    print_reading(paths, zipped, directory)


def print_sizes(paths: list[Path], zipped: list[Path], directory: Path) -> None:
    """Megabytes, against the files gzipped."""
    base = sum(path.stat().st_size for path in zipped)
    print(f"{'':<44}{'MB':>8}{'of .gz':>8}")
    for name, size in (
        ("files, gzipped", base),
        ("files", sum(path.stat().st_size for path in paths)),
        ("store", (directory / "home" / "spectra.h5").stat().st_size),
        ("store, packed", (directory / "packed" / "spectra.h5").stat().st_size),
        ("Parquet", (directory / "s.parquet").stat().st_size),
        ("npz", (directory / "s.npz").stat().st_size),
    ):
        print(f"{name:<44}{size / 1e6:>8.1f}{size / base:>8.2f}")


def print_reading(paths: list[Path], zipped: list[Path], directory: Path) -> None:
    """Seconds until all IPA and RPA spectra are arrays, against the json of Python."""
    store, packed = (directory / name / "spectra.h5" for name in ("home", "packed"))
    there = read_json(paths, orjson.loads)
    for path in (store, packed):
        if not all(map(np.array_equal, there, read_store(path))):
            raise SystemExit(f"{path} does not hold what the files do")
    del there
    columns = [
        f"{rung}_eps_{part}_{d}" for rung in ("ipa", "rpa") for part in ("real", "imag") for d in "xyz"
    ]
    base = seconds(lambda: read_json(paths, json.loads), 1)
    print(f"\n{'reading IPA and RPA of all':<44}{'s':>8}{'times as fast':>15}")
    for name, taken_s in (
        ("files, json", base),
        ("files, orjson", seconds(lambda: read_json(paths, orjson.loads))),
        ("files gzipped, orjson", seconds(lambda: read_json(zipped, orjson.loads), 1)),
        ("store", seconds(lambda: read_store(store))),
        ("store, packed", seconds(lambda: read_store(packed))),
        ("Parquet, pandas", seconds(lambda: pd.read_parquet(directory / "s.parquet", columns=columns))),
    ):
        print(f"{name:<44}{taken_s:>8.2f}{base / taken_s:>15.1f}")


if __name__ == "__main__":
    main()
