"""How long the dashboard's pages take at 100,000 materials, over HTTP from a process of its own.

Claim: under 200 ms. Baseline: /health, which does nothing. Asked by one client, by several with and without
a pause between, and by one while rows arrive. The store has all rows and the texts of their crystals, but
spectra of the first few only, whose pages are asked for; the backlog has 10,000 waiting jobs.

    python benchmarks/dashboard_pages.py [--rows 100000] [--repeats 20] [--clients 8] [--seconds 60]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import h5py
import numpy as np
import psutil
from store_frame import append_rows, made_up_rows

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.crystal import Crystal
from farm.job import Engine, Job, Outcome
from farm.protocol import PRESETS
from farm.result import LadderStep, Result, StageUsage
from farm.settings import load_settings
from farm.spectrum import energy_grid_ev
from farm.stage import Stage
from farm.store import StoreWriter
from farm.store.layout import LIBRARY_BOUNDS, TEXTS

N_ENERGIES = PRESETS["demo"].n_energies
N_WHOLE = 3
# Of a hasty reader.
PAUSE_S = 0.5
# Rows that arrive between two rounds of requests.
ARRIVING = 20

PAGES = (
    "/health",
    "/",
    "/materials",
    "/materials?text=LiF",
    "/materials?text=Ca,+O",
    "/materials?text=agm&sort=material_id&descending=1",
    "/materials?sort=gap_indirect_ev&descending=1",
    "/materials?outcome=done&gap_min_ev=2&gap_max_ev=4&sort=cpu_s",
    "/materials?page=1900",
    "/materials/whole-0",
    "/materials/whole-1?text=agm&sort=material_id&descending=1",
    "/materials/whole-2/readout.json",
    "/jobs",
    "/jobs?state=ready&page=20",
    "/jobs?state=ready&page=100",
    "/failures",
    "/model",
    "/api/status",
    "/api/backlog",
    "/metrics",
)


def fill(home: Path, n_rows: int, backlog: Backlog) -> None:
    """The store with texts, one row in a hundred failed, and jobs that wait."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "spectra.h5"
    with StoreWriter(path) as writer:
        writer.append_many(whole_results())
    crystal = _crystal("bench")
    texts = dict.fromkeys(TEXTS, "") | {"crystal": json.dumps(crystal.to_dict()), "space_group": "Fm-3m"}
    failed = texts | {"diagnosis": "scf_not_converged", "reason": "no convergence", "advice": "look at it"}
    rows = [failed if i % 100 == 0 else texts for i in range(n_rows)]
    pieces = [[row[name].encode() for name in TEXTS] for row in (texts, failed)]
    ends = [np.cumsum([0, *map(len, each)]) for each in pieces]
    kind = np.array([row is failed for row in rows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.array([e[-1] for e in ends])[kind])])
    made_up = made_up_rows(n_rows)
    made_up["outcome"][::100] = b"failed"
    # What a row replaces is told by its place in the table.
    made_up["replaces"][made_up["replaces"] >= 0] += N_WHOLE
    append_rows(path, made_up)
    blob = b"".join(b"".join(pieces[k]) for k in kind)
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        n_before = file["text"].shape[0]
        file["text_offsets"].resize(N_WHOLE + n_rows, axis=0)
        file["text_offsets"][N_WHOLE:] = n_before + starts[:-1, None] + np.array(ends)[kind]
        file["text"].resize(n_before + len(blob), axis=0)
        file["text"][n_before:] = np.frombuffer(blob, dtype=np.uint8)
    protocol = PRESETS["demo"]
    backlog.enqueue(
        Job(
            crystal=_crystal(f"waits-{i:05d}"),
            protocol=protocol.to_dict(),
            protocol_hash=protocol.hash,
            predicted_cpu_s=1.0 + i,
        )
        for i in range(10_000)
    )


def whole_results() -> list[Result]:
    """With made-up spectra of a ladder of four steps."""
    protocol = PRESETS["demo"]
    x = energy_grid_ev(N_ENERGIES)
    ladder = tuple(
        LadderStep(
            gmax_mry=gmax,
            n_g=1 + gmax // 100,
            step_similarity=None if gmax == 0 else (0.95,) * 3,
            eps=np.repeat((1 + 60 / (64 - x**2 - 4j) * (1 - gmax / 50_000))[None], 3, axis=0),
        )
        for gmax in (0, 2000, 4000, 6000)
    )
    return [
        Result(
            crystal=_crystal(f"whole-{n}"),
            protocol=protocol.to_dict(),
            protocol_hash=protocol.hash,
            engine=Engine.NATIVE,
            outcome=Outcome.DONE,
            ladder=ladder,
            gmax_converged_mry=(6000,) * 3,
            gap_indirect_ev=4.9,
            gap_direct_ev=4.9,
            stages=(StageUsage(stage=Stage.GROUND_STATE, cpu_s=1.5, wall_s=2.0, peak_memory_mb=80.0),),
        )
        for n in range(N_WHOLE)
    ]


def _crystal(material_id: str) -> Crystal:
    return Crystal(
        material_id=material_id,
        lattice_angstrom=((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
        species=("Mg", "O"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )


def milliseconds(url: str, token: str) -> float:
    """One request, from the connection to the last byte."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        answer.read()
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Serve, ask, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0, help="How long rows arrive.")
    options = parser.parse_args()
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        settings = load_settings({"home": home}, environment={})
        with broker_url(settings) as url:
            fill(home, options.rows, Backlog(connect(url), name=settings.name))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            environment = os.environ | {"FARM_REDIS_URL": url, "FARM_DASHBOARD_VIEW_TOKEN": token}
            command = [sys.executable, "-m", "farm.cli.main", "--home", str(home), "dashboard"]
            started = time.perf_counter()
            server = subprocess.Popen(
                [*command, "--port", str(port)], env=environment, stderr=subprocess.DEVNULL
            )
            try:
                _wait(ask := _Client(f"http://127.0.0.1:{port}", token))
                print(f"answers {time.perf_counter() - started:.1f} s after its start")
                _report(ask, home, options)
                print(f"{psutil.Process(server.pid).memory_info().rss / 1e6:.0f} MB of memory at the end")
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait()


class _Client:
    """Asks for a page, and says how many milliseconds it took."""

    def __init__(self, address: str, token: str) -> None:
        self._address, self._token = address, token

    def __call__(self, path: str) -> float:
        return milliseconds(self._address + path, self._token)


def _wait(ask: _Client) -> None:
    while True:
        try:
            ask("/health")
            return
        except OSError:
            time.sleep(0.1)


def _after(pause_s: float, ask: _Client, path: str) -> float:
    time.sleep(pause_s)
    return ask(path)


def _report(ask: _Client, home: Path, options: argparse.Namespace) -> None:
    print(f"/materials/whole-0, the first after the start: {ask('/materials/whole-0'):.0f} ms")
    one = {path: [ask(path) for _ in range(options.repeats)] for path in PAGES}
    _table("one client", one)
    for pause_s in (PAUSE_S, 0.0):
        start = time.monotonic()
        with ThreadPoolExecutor(options.clients) as pool:
            taken = list(pool.map(partial(_after, pause_s, ask), PAGES * options.repeats))
        rate = len(taken) / (time.monotonic() - start)
        several = {path: taken[n :: len(PAGES)] for n, path in enumerate(PAGES)}
        pause = f"after a pause of {pause_s:g} s" if pause_s else "without a pause"
        _table(f"{options.clients} clients, each asking {pause}: {rate:.0f} requests a second", several)
    meanwhile: dict[str, list[float]] = {path: [] for path in PAGES}
    n_arrived, end_s = 0, time.monotonic() + options.seconds
    while time.monotonic() < end_s:
        n_arrived += _arrive(home, n_arrived)
        for path in PAGES:
            meanwhile[path].append(ask(path))
    _table(f"one client, while {n_arrived:,} rows arrive in {options.seconds:g} s", meanwhile)
    for path in ("/materials.csv", "/api/materials"):
        print(f"{path}, all rows: {ask(path) / 1000:.1f} s")


def _arrive(home: Path, n_before: int) -> int:
    """More rows, as the first ones are."""
    with h5py.File(home / "spectra.h5", "r+", libver=LIBRARY_BOUNDS) as file:
        start, rows = int(file["committed"][0]), file["rows"][1 : ARRIVING + 1]
        rows["material_id"] = [f"new{n_before + n}".encode() for n in range(ARRIVING)]
        rows["replaces"] = -1
        for name in ("rows", "text_offsets"):
            file[name].resize(start + ARRIVING, axis=0)
        file["rows"][start:] = rows
        # Texts are read from the first row's to the last's in one piece: all have those of one row.
        file["text_offsets"][start:] = file["text_offsets"][1]
        file["committed"][0] = start + ARRIVING
    return ARRIVING


def _table(title: str, found: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'ms':62} {'median':>8} {'p95':>8} {'largest':>8} {'of /health':>10}")
    nothing = median(found["/health"])
    for path, taken in found.items():
        middle, high = median(taken), quantiles(taken, n=20)[-1]
        print(f"{path:62} {middle:8.1f} {high:8.1f} {max(taken):8.1f} {middle / nothing:10.1f}")


if __name__ == "__main__":
    main()
