"""Structures from an OPTIMADE server, and structures that are the same: how fast, in how much memory.

    OMP_NUM_THREADS=1 python benchmarks/database_sources.py [ALEXANDRIA.json.bz2...] [--structures 1500]
        [--runs 3]

The files hold real entries as Alexandria publishes them; without one, the bundled crystals are taken. The
package ``optimade`` serves them on loopback from its in-memory database (the server of the tests; its own
time is in every wall time). Each reader runs in a process of its own, all against one server, in turns and
several times, its imports done before; medians are printed:

- ours: entries checked and unparsed, as they go to the processes that parse
- ours, parsed: crystals reduced to their primitive cells, by one process
- the package's client (synchronous, pages of 500, the same fields): dictionaries, nothing checked. The
  baseline; and with the pages that its ``get`` asks for, whose size nobody can choose
- the package's client and adapters: pymatgen structures, neither reduced nor refined, of all fields

The second table is of ``farm seed --distinct`` on the files themselves, each crystal against all before it:
with nearly all different as they are published, and with a turned and strained copy of each behind them.
"""

from __future__ import annotations

import argparse
import bz2
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "farm" / "sources"))

from optimade_server import OptimadeServer

from farm.crystal import Crystal, crystal_from_structure
from farm.sources import Distinct, Filters, parse, read_source
from farm.sources.optimade import Query, Server, cut_optimade, find_provider
from farm.sources.optimade.query import names_given, response_fields

_PAGE = 500
_NAMES = {
    "_alexandria_band_gap",
    "_alexandria_hull_distance",
    "_alexandria_space_group",
    "_alexandria_magnetization",
}
# What ours asks for.
_FIELDS = response_fields(names_given(_NAMES), None)


def ours(url: str) -> Iterator[Any]:
    """Unparsed structures."""
    provider = find_provider("alexandria", url)
    with Server(provider.name, provider.base_url) as server:
        yield from cut_optimade(Query("", Filters()), provider, server)


def ours_parsed(url: str) -> Iterator[Any]:
    """Crystals."""
    return map(parse, ours(url))


def package(url: str, page_limit: int | None = _PAGE, fields: list[str] | None = _FIELDS) -> Iterator[Any]:
    """Dictionaries, all at once."""
    from optimade.client import OptimadeClient

    client = OptimadeClient(base_urls=[url], max_results_per_provider=-1, use_async=False, silent=True)
    (found,) = client.get_one("structures", "", url, page_limit=page_limit, response_fields=fields).values()
    if found.errors:
        raise SystemExit(found.errors)
    return iter(found.data)


def package_as_it_is(url: str) -> Iterator[Any]:
    """The same in the pages that its ``get`` asks for."""
    return package(url, page_limit=None)


def package_structures(url: str) -> Iterator[Any]:
    """pymatgen structures."""
    from optimade.adapters import Structure

    # Its models take no entry without all of their fields.
    return (Structure(entry).as_pymatgen for entry in package(url, fields=None))


READERS: dict[str, Callable[[str], Iterator[Any]]] = {
    "the package's client": package,
    "the package's client, its own pages": package_as_it_is,
    "ours": ours,
    "the package's client and adapters": package_structures,
    "ours, parsed": ours_parsed,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--structures", type=int, default=1500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--read", nargs=2, metavar=("READER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.read:
        read(*options.read)
        return
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as name:
        entries = list(islice(served(options.files), options.structures))
        with OptimadeServer(Path(name), entries) as server:
            print_readers(server.url, len(entries), options.runs)
    print()
    print_distinct(options.files)


def served(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The entries of the files, again and again with small strains, as the server takes them."""
    originals = list(published(files))
    copy = 0
    while True:
        for entry in originals:
            data, structure = entry.get("data", {}), entry["structure"]
            name = data.get("mat_id", entry.get("entry_id"))
            matrix = [[x * (1 + 1e-4 * copy) for x in row] for row in structure["lattice"]["matrix"]]
            sites = [{key: site[key] for key in ("species", "abc")} for site in structure["sites"]]
            yield {
                "id": f"{name}-{copy}" if copy else name,
                "structure": {"lattice": {"matrix": matrix}, "sites": sites},
                "band_gap": data.get("band_gap_ind"),
                "hull_distance": data.get("e_above_hull"),
                "space_group": data.get("spg"),
                "magnetization": data.get("total_mag"),
            }
        copy += 1


def published(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The entries of the files as they are, or the bundled crystals in their form."""
    for file in files:
        yield from json.loads(bz2.decompress(file.read_bytes()))["entries"]
    for item in () if files else read_source(None):
        if isinstance(item, Crystal):
            yield {"entry_id": item.material_id, "structure": item.to_structure().as_dict()}


def read(name: str, url: str) -> None:
    """One reader in this process: its numbers as JSON."""
    if name.startswith("the package"):
        import optimade.adapters
        import optimade.client  # noqa: F401 - before the clock runs
    start, cpu = time.perf_counter(), time.process_time()
    n = sum(1 for _ in READERS[name](url))
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps([n, wall_s, cpu_s, peak_mb()]))


def peak_mb() -> float:
    """Peak resident memory of this process alone; that of getrusage begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return float(status.partition("VmHWM:")[2].split()[0]) / 1e3


def print_readers(url: str, n_expected: int, n_runs: int) -> None:
    """Medians of all readers, which take turns."""
    runs: dict[str, list[list[float]]] = {name: [] for name in READERS}
    for _ in range(n_runs):
        for name in READERS:
            command = [sys.executable, __file__, "--read", name, url]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            if runs[name][-1][0] != n_expected:
                raise SystemExit(f"{name}: {runs[name][-1][0]} of {n_expected} structures came")
    print(f"{n_expected} structures, {n_runs} runs, medians; the ratio is of structures a second\n")
    print("| reader | wall s | structures/s | ratio | CPU ms each | peak MB |\n|---|---|---|---|---|---|")
    base_s = statistics.median(run[1] for run in runs["the package's client"])
    for name, numbers in runs.items():
        _, wall_s, cpu_s, peak_mb = (statistics.median(column) for column in zip(*numbers, strict=True))
        print(
            f"| {name} | {wall_s:.2f} | {n_expected / wall_s:,.0f} | {base_s / wall_s:.2f} "
            f"| {1e3 * cpu_s / n_expected:.2f} | {peak_mb:.0f} |"
        )


def print_distinct(files: list[Path]) -> None:
    """What finding the same structures costs, beside parsing them."""
    start = time.process_time()
    crystals = [item for file in files or [None] for item in read_source(file) if isinstance(item, Crystal)]
    parse_s = time.process_time() - start
    print(f"{len(crystals)} crystals; parsing them takes {1e3 * parse_s / len(crystals):.2f} CPU ms each\n")
    print("| crystals of | number | found | missed | CPU ms each | of parsing |\n|---|---|---|---|---|---|")
    print_sifted("the files", crystals, set(), parse_s / len(crystals))
    copies = [copied(crystal) for crystal in crystals]
    expected = {copy.material_id for copy in copies}
    print_sifted("the same and a copy of each", [*crystals, *copies], expected, parse_s / len(crystals))


def print_sifted(what: str, crystals: list[Crystal], copies: set[str], parse_s: float) -> None:
    """One line of the second table."""
    distinct, found = Distinct(), set[str]()
    start = time.process_time()
    for crystal in crystals:
        if distinct.same_structure(crystal) is None:
            distinct.add(crystal)
        else:
            found.add(crystal.material_id)
    each_s = (time.process_time() - start) / len(crystals)
    print(
        f"| {what} | {len(crystals)} | {len(found)} | {len(copies - found)} | {1e3 * each_s:.2f} "
        f"| {each_s / parse_s:.2f} |"
    )


def copied(crystal: Crystal) -> Crystal:
    """Turned, 2 % longer along one axis, its sites moved by 0.05 angstrom, under another name."""
    random = np.random.default_rng(int(crystal.content_hash[:8], 16))
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    structure = crystal.to_structure()
    structure.lattice = structure.lattice.matrix @ np.diag([1.02, 1.0, 1.0]) @ turn
    return crystal_from_structure(
        structure.perturb(0.05, seed=7), material_id=f"{crystal.material_id}-copy"
    )


if __name__ == "__main__":
    main()
