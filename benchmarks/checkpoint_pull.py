"""Claim: `farm pull` takes about twice what it takes to copy a checkpoint and to hash it once.

A checkpoint of the published size (two models, 39 MB) from a directory and from `python -m http.server`
on this machine, into an empty registry: it is hashed when it arrives and again when it is promoted.
Baseline: the same bytes by the standard library (shutil, urllib), hashed once by SHA-256 and flushed to the
disk as a pull does it. Both include the card; neither the start of Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from statistics import median

from trainer.checkpoints.card import Card
from trainer.checkpoints.exchange import pull
from trainer.checkpoints.registry import Registry
from trainer.networks.architectures import new_model
from trainer.networks.optimate import OptiMateConfig

N_RUNS = 9


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        origin = Registry(Path(scratch, "origin"))
        card = write_checkpoint(origin)
        names = [*card.files, "card.json"]
        n_bytes = sum((origin.path() / name).stat().st_size for name in names)
        port = "8797"
        command = [sys.executable, "-m", "http.server", port, "--bind", "127.0.0.1"]
        server = subprocess.Popen(command, cwd=origin.directory, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(f"{url}/latest/card.json")

            def copied(to: Path) -> None:
                for name in names:
                    shutil.copyfile(origin.path() / name, to / name)
                    hashed_and_flushed(to / name)

            def downloaded(to: Path) -> None:
                for name in names:
                    with (
                        urllib.request.urlopen(f"{url}/latest/{name}") as answer,  # noqa: S310 - ours
                        (to / name).open("wb") as file,
                    ):
                        shutil.copyfileobj(answer, file, 2**20)
                    hashed_and_flushed(to / name)

            print(f"{n_bytes / 1e6:.1f} MB, median of {N_RUNS}, wall time in ms (least, most)")
            print(f"{'from':12s} {'baseline':>20s} {'farm pull':>20s} {'ratio':>6s}")
            for place, baseline, source in (
                ("directory", copied, str(origin.directory)),
                ("http.server", downloaded, url),
            ):
                # One after the other: what else the machine does meets both.
                base, ours = [], []
                for _ in range(N_RUNS):
                    base.append(timed(baseline))
                    ours.append(timed(lambda to, source=source: pull(Registry(to), source)))
                ratio = median(ours) / median(base)
                print(f"{place:12s} {shown(base):>20s} {shown(ours):>20s} {ratio:6.2f}")
        finally:
            server.terminate()
            server.wait()


def timed(action: Callable[[Path], object]) -> float:
    """Milliseconds of an action in a new directory."""
    with tempfile.TemporaryDirectory() as directory:
        started_s = time.perf_counter()
        action(Path(directory))
        return 1e3 * (time.perf_counter() - started_s)


def shown(milliseconds: list[float]) -> str:
    return f"{median(milliseconds):.0f} ({min(milliseconds):.0f}, {max(milliseconds):.0f})"


def hashed_and_flushed(path: Path) -> None:
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
        os.fsync(file.fileno())


def wait_for(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url):  # noqa: S310 - ours
                return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} does not answer")


def write_checkpoint(registry: Registry) -> Card:
    """The published widths, weights drawn from seeds."""
    config = OptiMateConfig()
    card = Card(
        parent=None,
        created="2026-01-01T00:00:00+00:00",
        n_train=None,
        model=config.to_dict(),
        energy_max_ev=20.0,
        base={},
        transfer={},
        dataset={},
        split={},
        protocol_hashes=(),
        metrics={},
        held_out=(),
        software={},
    )
    card = registry.write({"ipa": new_model(config, 0), "rpa": new_model(config, 1)}, card)
    registry.promote(card.version)
    return card


if __name__ == "__main__":
    main()
