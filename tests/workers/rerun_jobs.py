"""Jobs that leave their inputs behind, and reruns of them by run.sh."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from farm.job import Job
from farm.result import Result
from workers.compute import compute
from workers.context import StepContext

_INPUTS = ("pw-*.in", "pp.in", "protocol.json", "yambo.in")


def computed(job: Job, scratch: Path, pseudo_dir: Path, **options: Any) -> tuple[Result, dict[str, bytes]]:
    """The result as it comes out of a store, and the bytes of every input the programs had.

    Inputs by their path in the job's directory, such as ``scf-30Ry-2x2x2/pw-1.in``.
    """
    inputs: dict[str, bytes] = {}

    def keep(context: StepContext) -> None:
        root = context.workspace.directory
        for pattern in _INPUTS:
            inputs.update({str(p.relative_to(root)): p.read_bytes() for p in root.rglob(pattern)})

    result = compute(job, scratch=scratch, pseudo_dir=pseudo_dir, on_end=keep, **options)
    return Result.unpack(result.pack()), inputs


def written(directory: Path) -> dict[str, bytes]:
    """The inputs in a directory of a rerun, by the same paths: without the numbers of the steps."""
    found = {}
    for pattern in _INPUTS:
        for path in directory.rglob(pattern):
            found[re.sub(r"^\d\d-", "", str(path.relative_to(directory)))] = path.read_bytes()
    return found


def rerun(directory: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run run.sh with our `farm`, as somebody would who has only the directory."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{path or os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(directory / "run.sh")],
        env={"PATH": programs, "HOME": str(directory)}
        | {name: value for name, value in os.environ.items() if name.startswith("FARM_STAND_IN")},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def energies_ry(directory: Path) -> dict[str, float]:
    """Total energy that pw.x printed last in each output, by its path in the directory."""
    found = {}
    for path in sorted(directory.rglob("pw-*.out")):
        if printed := re.findall(r"^!\s+total energy\s+=\s+(\S+) Ry", path.read_text(), re.MULTILINE):
            found[str(path.relative_to(directory))] = float(printed[-1])
    return found


def recorded_energies_ry(result: Result) -> list[float]:
    """Those that the farm has kept, in order."""
    return [run["total_energy_ry"] for run in result.parameters["runs"] if "total_energy_ry" in run]


def without(result: Result, *names: str) -> Result:
    """The result as an earlier version would have stored it."""
    kept: Mapping[str, Any] = {k: v for k, v in result.parameters.items() if k not in names}
    return replace(result, parameters=kept)
