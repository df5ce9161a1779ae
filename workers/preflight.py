"""Is this machine able to compute? Asked by `farm doctor` and before a worker takes any job."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from farm.checks import Check
from farm.errors import MissingProgramError
from farm.job import Engine
from farm.pseudopotentials import pseudopotential_directory, table

_PW_FIX = "Install Quantum ESPRESSO: `apt install quantum-espresso` or `conda install -c conda-forge qe`"
_FIXES: Mapping[str, str] = {
    "mpirun": "For more than one rank a job, and for YAMBO: `apt install openmpi-bin`",
    "yambo": "For the engine yambo: `conda install -c conda-forge yambo`",
    "p2y": "Comes with yambo: `conda install -c conda-forge yambo`",
}
_PSEUDO_FIX = "`make setup` fetches them; or set FARM_PSEUDO_DIR to a directory that has them"
_PROBE_TIMEOUT_S = 20

# Beside those that every job needs.
_PROGRAMS: Mapping[Engine, tuple[str, ...]] = {
    Engine.NATIVE: (),
    Engine.YAMBO: ("mpirun", "p2y", "yambo"),
}


def program_checks() -> list[Check]:
    """pw.x, pp.x and the pseudopotentials, which every job needs; mpirun and YAMBO, which some do."""
    return [
        check_pw(),
        _check_on_path("pp.x", _PW_FIX, required=True),
        check_pseudopotentials(pseudopotential_directory()),
        *(_check_on_path(program, fix) for program, fix in _FIXES.items()),
    ]


def missing_from_path(programs: Iterable[str]) -> list[str]:
    """Those of some programs that are not on PATH."""
    return [program for program in programs if shutil.which(program) is None]


def missing_programs(engine: Engine) -> list[str]:
    """The programs of an engine that are not on PATH."""
    return missing_from_path(_PROGRAMS[engine])


def has_engine(engine: Engine) -> bool:
    """Whether this machine can compute the response with an engine."""
    return not missing_programs(engine)


def require_engine(engine: Engine) -> None:
    """Raises MissingProgramError naming the first program of an engine that is absent."""
    for program in missing_programs(engine):
        raise MissingProgramError(
            f"the {engine.value} engine needs {program}, which is not on PATH", fix=_FIXES[program]
        )


def require_programs() -> dict[str, str]:
    """Version or place of what a worker needs.

    Raises MissingProgramError naming the first that is absent.
    """
    needed = [check for check in program_checks() if check.required]
    for check in needed:
        if not check.ok:
            raise MissingProgramError(f"{check.name}: {check.detail}", fix=check.fix)
    return {check.name: check.detail for check in needed}


def check_pw() -> Check:
    """pw.x on PATH, and the version it prints of itself."""
    path = shutil.which("pw.x")
    if path is None:
        return Check(name="pw.x", ok=False, detail="not on PATH", fix=_PW_FIX)
    try:
        # An empty input: it prints its banner and stops at once.
        probe = subprocess.run(  # noqa: S603 - the program was found on PATH
            [path],
            input="",
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            cwd="/tmp",  # noqa: S108 - nothing of value is written there
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check(name="pw.x", ok=False, detail=f"{path} does not run: {error}", fix=_PW_FIX)
    version = re.search(r"Program PWSCF v\.?(\S+)", probe.stdout)
    if version is None:
        return Check(name="pw.x", ok=False, detail=f"{path} prints no version", fix=_PW_FIX)
    return Check(name="pw.x", ok=True, detail=f"{version[1]} ({path})")


def check_pseudopotentials(directory: Path) -> Check:
    """All files of the set are there; their sums are checked when they are used."""
    missing = [element for element, entry in table().items() if not (directory / entry.file).is_file()]
    if missing:
        some = ", ".join(sorted(missing)[:5])
        detail = f"{len(missing)} of {len(table())} missing in {directory} ({some}...)"
        return Check(name="pseudopotentials", ok=False, detail=detail, fix=_PSEUDO_FIX)
    return Check(name="pseudopotentials", ok=True, detail=f"SG15 v1.2, {len(table())} files in {directory}")


def _check_on_path(program: str, fix: str, *, required: bool = False) -> Check:
    path = shutil.which(program)
    return Check(
        name=program, ok=path is not None, detail=path or "not on PATH", fix=fix, required=required
    )
