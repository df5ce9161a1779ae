"""A farm on five hosts, two of which are cut off from the network and come back: is anything lost?

Five network namespaces with an address and a host name each, on one switch: `head` (Redis with the users
of deploy/redis, scheduler), `store` (writer), `node1` and `node2` (a cpu worker each), `gpu` (trainer; it
shares the directory of `store`, as over a network file system). The bundled crystals go through; meanwhile
the link of `node1` goes down for three leases, then that of `store`. The baseline is the list of crystals:
each done and once in the store.

    sudo python benchmarks/five_hosts.py [--crystals 20] [--lease 5] [--json FILE]

Needs root and `ip` (iproute2). Exit code 1 when something was lost, stored twice or left over.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hosts.network import Network, NotPossibleError
from hosts.redis_host import start_redis

from farm.store import open_store

ROOT = Path(__file__).parents[1]
# Host -> its role.
ROLES = {"head": "scheduler", "store": "writer", "node1": "worker", "node2": "worker", "gpu": "trainer"}
# Host -> share of the crystals that are done when its link goes down.
CUTS = {"node1": 0.2, "store": 0.5}
STUCK_S = 300.0
_LOOK_EVERY_S = 1.0


@dataclass
class Cut:
    """One host without network; seconds since the start. Counts are of jobs."""

    host: str
    down_s: float
    up_s: float = 0.0
    done_meanwhile: int = 0
    brought_back: int = 0
    said: str = ""  # the last of what its role said of a lease
    first_word_after_s: float = 0.0


@dataclass
class Outcome:
    """What came of it."""

    crystals: int
    wall_s: float = 0.0
    done: int = 0
    rows: int = 0
    materials: int = 0
    checkpoint: str = ""
    left_over: list[str] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Every crystal is done and once in the store, and nothing goes on running."""
        return self.done == self.rows == self.materials == self.crystals and not self.left_over


class Farm:
    """The processes of the five hosts, and `farm` commands on one of them."""

    def __init__(self, network: Network, directory: Path, lease_s: float) -> None:
        self._network = network
        self._directory = directory
        url = start_redis(network, "head", directory / "redis")
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("FARM_")}
        self._environment |= {"FARM_REDIS_URL": url, "FARM_LEASE_S": f"{lease_s:g}", "OMP_NUM_THREADS": "1"}
        self._environment["FARM_REFIT_MEMBERS"] = "1"

    def home(self, host: str) -> Path:
        """FARM_HOME there: workers share no file with anybody."""
        return self._directory / ("store" if host == "gpu" else host)

    def start(self) -> None:
        """Every role on its host."""
        for host, role in ROLES.items():
            options = ["--slots", "1"] if role == "worker" else []
            self._network.start(host, self._command(role, *options), self._for(host), self.log(host))

    def run(self, host: str, *words: str) -> str:
        """What a command prints on a host."""
        return self._network.run(host, self._command(*words), self._for(host))

    def status(self) -> dict[str, Any]:
        """As the head sees it."""
        document: dict[str, Any] = json.loads(self.run("head", "status", "--json"))
        return document

    def log(self, host: str) -> Path:
        """Of the role there."""
        return self._directory / f"{host}.log"

    def lines(self, host: str, words: str, since: int) -> list[str]:
        """Lines of a log that have some words, after its first ``since`` bytes."""
        text = self.log(host).read_bytes()[since:].decode()
        return [line for line in text.splitlines() if words in line]

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "farm.cli.main", *words]

    def _for(self, host: str) -> dict[str, str]:
        self.home(host).mkdir(parents=True, exist_ok=True)
        return self._environment | {"FARM_HOME": str(self.home(host))}


def cut_off(farm: Farm, network: Network, host: str, for_s: float, clock: Callable[[], float]) -> Cut:
    """Take a host's link down, wait, bring it up again, and wait until its role is heard of."""
    cut = Cut(host=host, down_s=clock())
    done, scheduler_log = farm.status()["jobs"]["done"], farm.log("head").stat().st_size
    own_log = farm.log(host).stat().st_size
    network.cut(host)
    time.sleep(for_s)
    cut.done_meanwhile = farm.status()["jobs"]["done"] - done
    cut.brought_back = len(farm.lines("head", "its lease expired; now ready", scheduler_log))
    network.heal(host)
    cut.up_s = clock()
    wait_for(
        lambda: any(f"@{host}." in worker["name"] for worker in farm.status()["workers"]),
        f"{host} to speak",
    )
    cut.first_word_after_s = clock() - cut.up_s
    cut.said = next(reversed(farm.lines(host, "lease", own_log)), "")
    return cut


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look once a second."""
    deadline = time.monotonic() + STUCK_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {STUCK_S:.0f} s for {what}")
        time.sleep(_LOOK_EVERY_S)


def experiment(directory: Path, crystals: int, lease_s: float) -> Outcome:
    """One farm from seed to the last refit."""
    outcome, started = Outcome(crystals=crystals), time.monotonic()

    def clock() -> float:
        return time.monotonic() - started

    with Network(list(ROLES)) as network:
        farm = Farm(network, directory, lease_s)
        farm.run("store", "seed", "--protocol", "demo", "--max-atoms", "4", "--limit", str(crystals))
        farm.start()
        for host, share in CUTS.items():
            wait_for(
                lambda s=share: farm.status()["jobs"]["done"] >= s * crystals, f"{share:.0%} to be done"
            )
            outcome.cuts.append(cut_off(farm, network, host, 3 * lease_s, clock))
        wait_for(lambda: farm.status()["jobs"]["done"] >= crystals, "all to be done")
        if crystals >= 8:
            wait_for(lambda: _refitted(farm, crystals), "the last refit")
        outcome.wall_s = clock()
        outcome.done = farm.status()["jobs"]["done"]
        outcome.checkpoint = farm.run("gpu", "checkpoints", "list").strip() if crystals >= 8 else ""
        outcome.left_over = network.stop()
    with open_store(directory / "store" / "spectra.h5") as store:
        outcome.rows, outcome.materials = store.n_rows, store.counts().materials
    return outcome


def _refitted(farm: Farm, crystals: int) -> bool:
    told = json.loads(farm.run("gpu", "status", "--json"))
    return told["refit"] == "idle" and told["store"]["rpa"] >= crystals and told["checkpoint"] is not None


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--crystals", type=int, default=20)
    parser.add_argument("--lease", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="five-hosts-"))
    try:
        outcome = experiment(directory, options.crystals, options.lease)
    except NotPossibleError as error:
        print(f"left out: {error}")
        return 0
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(asdict(outcome), indent=1), encoding="utf-8")
    print(" host   cut off, s  back, s  done meanwhile  brought back  heard of after, s")
    for cut in outcome.cuts:
        numbers = f"{cut.down_s:10.0f} {cut.up_s:8.0f} {cut.done_meanwhile:15d} {cut.brought_back:13d}"
        print(f" {cut.host:<6} {numbers} {cut.first_word_after_s:18.1f}")
        if cut.said:
            print(f"        {cut.said}")
    stored = f"{outcome.done} done, {outcome.rows} rows of {outcome.materials} materials"
    left = f"{len(outcome.left_over)} processes left over"
    print(f"{outcome.crystals} crystals: {stored}, {left}, {outcome.wall_s:.0f} s")
    print(outcome.checkpoint)
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
