"""The local potential of a finished ground state, by pp.x."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from farm.errors import CalculationError, LeaseLostError
from workers.launcher import Usage, launch
from workers.reduced_basis.potential import TOTAL_POTENTIAL, read_local_potential

POTENTIAL_FILE = "potential.dat"

POLL_S = 0.05

# A process that was killed is tried once more.
ATTEMPTS = 2

_LINK = "out"  # of fixed name: keeps the input free of this machine's paths and their length limits


def pp_input(prefix: str) -> str:
    """The pp.x input for ionic + Hartree + xc potential."""
    return (
        f"&INPUTPP\n  prefix = '{prefix}'\n  outdir = './{_LINK}/'\n"
        f"  filplot = '{POTENTIAL_FILE}'\n  plot_num = {TOTAL_POTENTIAL}\n/\n"
    )


def run_local_potential(save_directory: Path, directory: Path, cancelled: threading.Event) -> Usage:
    """Write ``directory/potential.dat`` for the ground state in ``save_directory`` (``prefix.save``).

    Raises CalculationError where pp.x leaves no potential, MissingProgramError where there is no pp.x,
    LeaseLostError when ``cancelled`` is set.
    """
    usage, error = Usage(), CalculationError("pp.x was not run")
    for attempt in range(1, ATTEMPTS + 1):
        (directory / POTENTIAL_FILE).unlink(missing_ok=True)
        link = directory / _LINK
        link.unlink(missing_ok=True)
        link.symlink_to(save_directory.parent.resolve(), target_is_directory=True)
        source = directory / f"pp-{attempt}.in"
        source.write_text(pp_input(save_directory.name.removesuffix(".save")), encoding="utf-8")
        process = launch(
            ["pp.x", "-inp", source.name],
            directory=directory,
            stdout=directory / f"pp-{attempt}.out",
            stderr=directory / f"pp-{attempt}.err",
        )
        try:
            while process.poll() is None:
                if cancelled.is_set():
                    raise LeaseLostError("potential: stopped, the job is no longer this worker's")
                time.sleep(POLL_S)
        finally:
            process.kill_group()
        usage += process.usage
        try:
            read_local_potential(directory / POTENTIAL_FILE)
        except CalculationError as failed:
            error = CalculationError(
                f"{failed.message}; exit code {process.returncode}; {_last_line(directory, attempt)}"
            )
        else:
            return usage
    raise error


def _last_line(directory: Path, attempt: int) -> str:
    text = "".join(
        (directory / f"pp-{attempt}.{suffix}").read_text(encoding="utf-8", errors="replace")
        for suffix in ("out", "err")
    )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
