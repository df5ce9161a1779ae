"""Running the response: our solver as a process of its own, watched, checked and judged."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from farm.errors import CalculationError, LeaseLostError
from farm.protocol import Protocol
from workers.gmax import LadderVerdict, judge_ladder
from workers.launcher import Process, Usage, launch
from workers.pipeline import Done, StepFailed
from workers.scratch import RESPONSE_FILE
from workers.spectra import ResponseData, fault, load_response, response_done

POLL_S = 0.1

# A process that was killed is tried once more; numbers that are wrong would come again.
ATTEMPTS = 2


def run_response(
    save_directory: Path, directory: Path, protocol: Protocol, cancelled: threading.Event
) -> tuple[Done, Usage]:
    """Compute all rungs of the local-field ladder from a band calculation's save directory.

    Raises LeaseLostError when ``cancelled`` is set.
    """
    usage, reason = Usage(), ""
    for attempt in range(1, ATTEMPTS + 1):
        process = _launch(save_directory, directory, protocol, attempt)
        try:
            _wait(process, cancelled)
        finally:
            process.kill_group()
        usage += process.usage
        try:
            return _read(directory, protocol), usage
        except CalculationError as error:
            reason = f"{error.message}; exit code {process.returncode}; {_last_line(directory, attempt)}"
    return StepFailed(reason=reason), usage


def judge(data: ResponseData, protocol: Protocol) -> LadderVerdict:
    """Where the local-field ladder of a response converged."""
    return judge_ladder(data.gmax_mry, data.eps, data.energies_ev, protocol.similarity_threshold)


def response_argv(save_directory: Path, protocol: Protocol) -> list[str]:
    """The command of the solver under a protocol."""
    argv = [sys.executable, "-m", "workers.cli.response", str(save_directory.resolve())]
    for gmax in protocol.gmax_mry:
        argv += ["--gmax-mry", str(gmax)]
    argv += ["--damping-ev", repr(protocol.damping_ev), "--green-function", protocol.green_function]
    argv += ["--energy-max-ev", repr(protocol.energy_max_ev), "--n-energies", str(protocol.n_energies)]
    return [*argv, "--threshold", repr(protocol.similarity_threshold), "--out", RESPONSE_FILE]


def _launch(save_directory: Path, directory: Path, protocol: Protocol, attempt: int) -> Process:
    (directory / RESPONSE_FILE).unlink(missing_ok=True)
    return launch(
        response_argv(save_directory, protocol),
        directory=directory,
        stdout=directory / f"response-{attempt}.out",
        stderr=directory / f"response-{attempt}.err",
    )


def _wait(process: Process, cancelled: threading.Event) -> None:
    while process.poll() is None:
        if cancelled.is_set():
            raise LeaseLostError("response: stopped, the job is no longer this worker's")
        time.sleep(POLL_S)


def _read(directory: Path, protocol: Protocol) -> Done:
    data = load_response(directory / RESPONSE_FILE)
    wrong = fault(data, protocol)
    if wrong is not None:
        return StepFailed(reason=f"response: {wrong}")
    verdict = judge(data, protocol)
    return response_done(data, verdict.step_similarity, verdict.converged_gmax_mry)


def _last_line(directory: Path, attempt: int) -> str:
    text = (directory / f"response-{attempt}.err").read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed no error"
