"""The local potential of a finished ground state, by pp.x."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from farm.errors import CalculationError
from farm.kpoints import FloatArray
from workers.attempts import Attempted, run_attempts
from workers.launcher import Usage
from workers.reduced_basis.potential import TOTAL_POTENTIAL, read_local_potential

POTENTIAL_FILE = "potential.dat"

PP_LINK = "out"  # of fixed name: keeps the input free of this machine's paths and their length limits
PP_INPUT = "pp.in"


def pp_input(prefix: str) -> str:
    """The pp.x input for ionic + Hartree + xc potential."""
    return (
        f"&INPUTPP\n  prefix = '{prefix}'\n  outdir = './{PP_LINK}/'\n"
        f"  filplot = '{POTENTIAL_FILE}'\n  plot_num = {TOTAL_POTENTIAL}\n/\n"
    )


def attempt_local_potential(
    save_directory: Path, directory: Path, cancelled: threading.Event
) -> Attempted[FloatArray]:
    """Write ``directory/potential.dat`` for the ground state in ``save_directory`` (``prefix.save``).

    Raises MissingProgramError where there is no pp.x, LeaseLostError when ``cancelled`` is set.
    """
    link = directory / PP_LINK
    link.unlink(missing_ok=True)
    link.symlink_to(save_directory.parent.resolve(), target_is_directory=True)
    prefix = save_directory.name.removesuffix(".save")
    (directory / PP_INPUT).write_text(pp_input(prefix), encoding="utf-8")
    output = directory / POTENTIAL_FILE
    read = partial(read_local_potential, output)
    return run_attempts("potential", ["pp.x", "-inp", PP_INPUT], directory, output, read, cancelled)


def run_local_potential(save_directory: Path, directory: Path, cancelled: threading.Event) -> Usage:
    """The same where there must be a potential; what it cost.

    Raises CalculationError where pp.x leaves none, and as :func:`attempt_local_potential`.
    """
    attempted = attempt_local_potential(save_directory, directory, cancelled)
    if attempted.value is None:
        raise CalculationError(attempted.reason)
    return attempted.usage
