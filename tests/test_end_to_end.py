"""The whole farm as a user runs it: real processes, real Quantum ESPRESSO, an embedded Redis."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymatgen.core import Lattice, Structure

from farm.store import open_store

# Coarse beyond use: seconds a crystal. The path is the same as that of the presets.
PROTOCOL = """
preset = "demo"
ecutwfc_ry = 30
ground_state_kppa = 60
response_kppa = 60
gmax_max_mry = 6000
"""
FCC = "Fm-3m"


class Farm:
    """`farm` commands in a directory of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FARM_") or k == "FARM_PSEUDO_DIR"}
        self.environment = {**kept, "FARM_HOME": str(home), "FARM_REFIT_MIN_SPECTRA": "2"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "farm.cli.main", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run to the end; returns stdout."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, (
            f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}{self.logs()}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("status", "--json"))
        return document

    def logs(self) -> str:
        return "".join(
            f"\n== {log.name}\n{log.read_text()}" for log in sorted(self.home.glob("logs/*.log"))
        )

    def processes(self) -> list[psutil.Process]:
        """Everything alive that belongs to this farm, by command line or working directory."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if str(self.home) in words or process.cwd().startswith(str(self.home)):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found


@pytest.fixture(scope="module")
def crystals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two insulators, a metal with an even number of electrons, an alloy, and a broken file."""
    directory = tmp_path_factory.mktemp("crystals")
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [[0, 0, 0]])
    lif = Structure.from_spacegroup(FCC, Lattice.cubic(4.026), ["Li", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    magnesium = Structure.from_spacegroup(FCC, Lattice.cubic(4.52), ["Mg"], [[0, 0, 0]])
    alloy = Structure(Lattice.cubic(4.2), [{"Si": 0.5, "C": 0.5}], [[0, 0, 0]])
    for name, structure in (("C", diamond), ("LiF", lif), ("Mg", magnesium), ("alloy", alloy)):
        structure.to(filename=str(directory / f"{name}.cif"))
    (directory / "broken.json").write_text('{"entries": [')
    (directory / "coarse.toml").write_text(PROTOCOL)
    return directory


@pytest.fixture
def farm(tmp_path: Path, pw_x: Path) -> Farm:  # noqa: ARG001 - pw.x must be there
    return Farm(tmp_path / "farm")


def seed(farm: Farm, crystals: Path, *sources: str) -> dict[str, Any]:
    protocol = str(crystals / "coarse.toml")
    files = [str(crystals / source) for source in sources]
    document: dict[str, Any] = json.loads(farm.run("seed", *files, "--protocol", protocol, "--json"))
    return document


def wait_for_pw_x(farm: Farm) -> None:
    deadline = time.monotonic() + 60
    while not any(p.name() == "pw.x" for p in farm.processes()):
        assert time.monotonic() < deadline, farm.logs()
        time.sleep(0.02)


def test_crystals_become_spectra_and_nothing_is_left_over(farm: Farm, crystals: Path) -> None:
    sources = ("C.cif", "LiF.cif", "Mg.cif", "alloy.cif", "broken.json")
    planned = seed(farm, crystals, *sources)
    costs = [job["predicted_cpu_s"] for job in planned["queued"]]
    assert costs == sorted(costs)
    assert sorted(job["formula"] for job in planned["queued"]) == ["C", "LiF", "Mg"]
    assert len(planned["rejected"]) == 2
    for refused, name in zip(
        sorted(planned["rejected"], key=lambda r: r["source"]), ("alloy", "broken"), strict=True
    ):
        assert name in refused["source"]
        assert refused["reason"]
        assert refused["fix"]

    screen = farm.run("up", "--until-idle", "--slots", "2")
    assert "LiF" in screen
    assert str(farm.home / "spectra.png") in screen
    assert (farm.home / "spectra.png").read_bytes().startswith(b"\x89PNG")

    status = farm.status()
    assert status["jobs"]["done"] == 2
    assert status["jobs"]["metal"] == 1
    assert sum(status["jobs"].values()) == 3
    assert status["store"] == {"materials": 3, "ipa": 2, "rpa": 2}
    assert status["cpu_hours"]["to_go"] == 0
    assert status["checkpoint"] is None  # two spectra are too few: the trainer waits, and says so
    assert "waiting" in farm.logs()
    with open_store(farm.home / "spectra.h5") as store:
        for row in store.rows():
            stages = [stage.stage.value for stage in store.stages(row.index)]
            assert stages[0] == "ground_state"
            assert all(stage.cpu_s > 0 for stage in store.stages(row.index))
        lif = next(store.result(row.index) for row in store.rows() if row.formula == "LiF")
    assert lif.ipa is not None
    assert lif.rpa is not None
    assert 1.7 < lif.rpa.eps_inf < lif.ipa.eps_inf < 2.5

    again = seed(farm, crystals, *sources)
    assert again["queued"] == []
    assert len(again["skipped"]) == 3
    assert [p for p in (farm.home / "scratch").rglob("*") if p.is_file()] == []
    assert farm.processes() == []


def test_a_lost_redis_costs_nothing_that_is_stored(farm: Farm, crystals: Path) -> None:
    seed(farm, crystals, "C.cif")
    farm.run("up", "--until-idle", "--no-trainer")
    for file in (farm.home / "redis").rglob("*"):
        if file.is_file():
            file.unlink()
    assert sum(farm.status()["jobs"].values()) == 0
    assert farm.status()["store"]["rpa"] == 1
    planned = seed(farm, crystals, "C.cif", "LiF.cif")
    assert [job["formula"] for job in planned["queued"]] == ["LiF"]
    assert [item["reason"] for item in planned["skipped"]] == ["in the store already"]


def test_a_farm_killed_with_all_its_strength_goes_on(farm: Farm, crystals: Path) -> None:
    seed(farm, crystals, "C.cif", "LiF.cif")
    process = farm.start("up", "--until-idle", "--no-trainer")
    wait_for_pw_x(farm)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while [p for p in farm.processes() if "redis" not in p.name() and "valkey" not in p.name()]:
        assert time.monotonic() < deadline, [p.cmdline() for p in farm.processes()]
        time.sleep(0.1)
    farm.run("up", "--until-idle", "--no-trainer")
    status = farm.status()
    assert status["jobs"]["done"] == 2
    assert status["store"]["rpa"] == 2
    assert farm.processes() == []


def test_ctrl_c_leaves_no_job_half_done(farm: Farm, crystals: Path) -> None:
    seed(farm, crystals, "C.cif", "LiF.cif")
    process = farm.start("up", "--until-idle", "--no-trainer", "--slots", "1")
    wait_for_pw_x(farm)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130  # a shell must not go on as if all were done
    assert farm.processes() == []
    jobs = farm.status()["jobs"]
    # Either the job ended in the last seconds and is stored, or it went back.
    assert jobs["running"] == 0
    assert jobs["done"] == farm.status()["store"]["materials"]
    farm.run("up", "--until-idle", "--no-trainer")
    assert farm.status()["jobs"]["done"] == 2


def test_the_doctor_runs_a_small_crystal(farm: Farm, tmp_path: Path) -> None:
    *_, run, by_yambo = json.loads(farm.run("doctor", "--run", "--json"))
    assert run["ok"], run
    has_yambo = all(shutil.which(program) for program in ("yambo", "p2y", "mpirun"))
    assert (by_yambo["name"], by_yambo["ok"]) == ("run with yambo", has_yambo)
    assert has_yambo or by_yambo["detail"].startswith("not done: ")
    assert re.search(r"done in \d+\.\d CPU s \(ground_state .*bands .*response ", run["detail"])
    assert [p for p in (farm.home / "scratch").rglob("*") if p.is_file()] == []

    broken = tmp_path / "bin" / "pw.x"  # answers when asked for its version, and cannot compute
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho ' Program PWSCF v.9.9 starts'; exit 1\n")
    broken.chmod(0o755)
    farm.environment["PATH"] = f"{broken.parent}{os.pathsep}{farm.environment['PATH']}"
    *_, run, _by_yambo = json.loads(farm.run("doctor", "--run", "--json", code=1))
    assert "failed after" in run["detail"]
    texts = Path(run["fix"].rpartition(" ")[2])
    assert list(texts.rglob("pw-*.out"))


def test_without_pw_x_it_says_what_to_install(farm: Farm, tmp_path: Path) -> None:
    farm.environment["PATH"] = str(tmp_path)
    done = subprocess.run(
        farm.command("worker"),
        env=farm.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pw.x: not on PATH. Install Quantum ESPRESSO: `apt install quantum-espresso`" in done.stderr
