"""Running the response: our solver as a process of its own, checked and judged."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from farm.kpoints import IntArray
from farm.protocol import Protocol
from workers.attempts import run_attempts
from workers.convergence import Grid
from workers.gmax import LadderVerdict, judge_ladder
from workers.history import Done, ResponseDone, StepFailed
from workers.launcher import Usage
from workers.scratch import RESPONSE_FILE
from workers.spectra import ResponseData, fault, load_response, load_spectra, response_done

PROTOCOL_FILE = "protocol.json"


def run_response(
    save_directory: Path,
    n_bands: int | None,
    directory: Path,
    protocol: Protocol,
    cancelled: threading.Event,
) -> tuple[Done, Usage]:
    """Compute all rungs of the local-field ladder from the lowest bands of a save directory.

    Raises LeaseLostError when ``cancelled`` is set.
    """
    argv = response_argv(save_directory, protocol, n_bands)
    return _run("response", argv, directory, partial(read_response, directory, protocol), cancelled)


def run_spectra(
    save_directory: Path,
    potential: Path,
    directory: Path,
    protocol: Protocol,
    grid_basis: IntArray,
    energy_grids: tuple[Grid, Grid] | None,
    cancelled: threading.Event,
) -> tuple[Done, Usage]:
    """Bands in a reduced basis and all rungs, from a ground state's save directory and its potential.

    ``energy_grids``: between which the change of the total energy is wanted, of the save's cell
    ``grid_basis``: rows are the vectors of the save's cell in those of the cell that the k-grid is for.

    Raises LeaseLostError when ``cancelled`` is set.
    """
    (directory / PROTOCOL_FILE).write_text(protocol_text(protocol), encoding="utf-8")
    argv = [sys.executable, "-m", "workers.cli.spectra", str(save_directory.resolve())]
    argv += spectra_options(str(potential.resolve()), grid_basis, energy_grids)
    return _run("spectra", argv, directory, partial(_read_spectra, directory, protocol), cancelled)


def _run(
    name: str, argv: list[str], directory: Path, read: Callable[[], Done], cancelled: threading.Event
) -> tuple[Done, Usage]:
    attempted = run_attempts(name, argv, directory, directory / RESPONSE_FILE, read, cancelled)
    failed = StepFailed(reason=attempted.reason, diagnosis=f"{name}_failed")
    return attempted.value or failed, attempted.usage


def judge(data: ResponseData, protocol: Protocol) -> LadderVerdict:
    """Where the local-field ladder of a response converged."""
    return judge_ladder(data.gmax_mry, data.eps, data.energies_ev, protocol.similarity_threshold)


def response_argv(save_directory: Path, protocol: Protocol, n_bands: int | None = None) -> list[str]:
    """The command of the solver under a protocol."""
    command = [sys.executable, "-m", "workers.cli.response", str(save_directory.resolve())]
    return [*command, *response_options(protocol, n_bands)]


def response_options(protocol: Protocol, n_bands: int | None) -> list[str]:
    """What ``farm response`` is told beside the save directory."""
    options: list[str] = []
    for gmax in protocol.gmax_mry:
        options += ["--gmax-mry", str(gmax)]
    options += ["--damping-ev", repr(protocol.damping_ev), "--green-function", protocol.green_function]
    options += ["--energy-max-ev", repr(protocol.energy_max_ev), "--n-energies", str(protocol.n_energies)]
    options += ["--threshold", repr(protocol.similarity_threshold), "--out", RESPONSE_FILE]
    return options if n_bands is None else [*options, "--bands", str(n_bands)]


def spectra_options(
    potential: str, grid_basis: IntArray, energy_grids: tuple[Grid, Grid] | None
) -> list[str]:
    """What ``farm spectra`` is told beside the save directory; arguments as of :func:`run_spectra`."""
    options = ["--potential", potential, "--protocol", PROTOCOL_FILE, "--out", RESPONSE_FILE]
    if energy_grids is not None:
        options += ["--energy-grids", " ".join(str(n) for grid in energy_grids for n in grid)]
    return [*options, "--grid-basis", " ".join(str(int(n)) for n in grid_basis.ravel())]


def protocol_text(protocol: Protocol) -> str:
    """The file that ``farm spectra --protocol`` is given."""
    return json.dumps(protocol.to_dict())


def read_response(directory: Path, protocol: Protocol, *, whole_ladder: bool = True) -> Done:
    """Check and judge the response in a directory.

    whole_ladder: every rung has to be there; an engine that runs them one by one stops when it may
    """
    data = load_response(directory / RESPONSE_FILE)
    wrong = fault(data, protocol, whole_ladder=whole_ladder)
    if wrong is not None:
        return StepFailed(reason=f"response: {wrong}", diagnosis="response_unphysical")
    verdict = judge(data, protocol)
    return response_done(data, verdict.step_similarity, verdict.converged_gmax_mry)


def _read_spectra(directory: Path, protocol: Protocol) -> Done:
    done = load_spectra(directory / RESPONSE_FILE)
    if done.bands.gap_indirect_ev < protocol.metal_gap_ev:
        return done
    response = read_response(directory, protocol)
    return replace(done, response=response) if isinstance(response, ResponseDone) else response
