"""How long the dashboard's pages take at 100,000 materials, over HTTP from a process of its own.

Claim: under 200 ms. Baseline: /health, which does nothing. The store has all rows and the texts of their
crystals but no spectra, so the page of one material is not among them; the backlog has 10,000 waiting jobs.

    python benchmarks/dashboard_pages.py [--rows 100000] [--repeats 20]
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
from pathlib import Path
from statistics import median, quantiles

import h5py
import numpy as np
from store_frame import make_store

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.crystal import Crystal
from farm.job import Job
from farm.protocol import PRESETS
from farm.settings import load_settings
from farm.store.layout import LIBRARY_BOUNDS, TEXTS

PAGES = (
    "/health",
    "/",
    "/materials",
    "/materials?q=LiF",
    "/materials?q=Si%2C+O",
    "/materials?sort=gap_indirect_ev&order=descending",
    "/materials?page=900",
    "/jobs",
    "/jobs?state=ready&page=20",
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
    make_store(path, n_rows)
    crystal = _crystal("bench")
    texts = dict.fromkeys(TEXTS, "") | {"crystal": json.dumps(crystal.to_dict()), "space_group": "Fm-3m"}
    failed = texts | {"diagnosis": "scf_not_converged", "reason": "no convergence", "advice": "look at it"}
    rows = [failed if i % 100 == 0 else texts for i in range(n_rows)]
    pieces = [[row[name].encode() for name in TEXTS] for row in (texts, failed)]
    ends = [np.cumsum([0, *map(len, each)]) for each in pieces]
    kind = np.array([row is failed for row in rows], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(np.array([e[-1] for e in ends])[kind])])
    blob = b"".join(b"".join(pieces[k]) for k in kind)
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        file["text_offsets"].resize(n_rows, axis=0)
        file["text_offsets"][:] = starts[:-1, None] + np.array(ends)[kind]
        file["text"].resize(len(blob), axis=0)
        file["text"][:] = np.frombuffer(blob, dtype=np.uint8)
        table = file["rows"][:]
        table["outcome"][::100] = b"failed"
        file["rows"][:] = table
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
                _report(f"http://127.0.0.1:{port}", token, options.repeats, started)
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait()


def _report(address: str, token: str, repeats: int, started: float) -> None:
    while True:
        try:
            milliseconds(f"{address}/health", token)
            break
        except OSError:
            time.sleep(0.1)
    print(f"answers {time.perf_counter() - started:.1f} s after its start")
    print(f"{'page':52} {'median ms':>9} {'p95 ms':>8} {'of /health':>10}")
    nothing = 0.0
    for path in PAGES:
        taken = [milliseconds(address + path, token) for _ in range(repeats)]
        middle, high = median(taken), quantiles(taken, n=20)[-1]
        nothing = nothing or middle
        print(f"{path:52} {middle:9.1f} {high:8.1f} {middle / nothing:10.1f}")


if __name__ == "__main__":
    main()
