"""Spectra that must not be believed, and which steps of a ladder are kept."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.errors import CalculationError, LeaseLostError
from farm.protocol import Protocol
from workers import responses
from workers.attempts import ATTEMPTS
from workers.history import StepFailed
from workers.spectra import ResponseData, fault, ladder_steps, load_response, response_done

PROTOCOL = Protocol(n_energies=101, gmax_max_mry=6000)
SIMILARITY = ((0.8, 0.8, 0.7), (0.95, 0.95, 0.92), (0.99, 0.99, 0.98))


@pytest.fixture
def data() -> ResponseData:
    energies = np.linspace(0.0, 20.0, 101)
    eps = 1 + 60 / (64 - energies**2 - 1j * 4 * energies)
    return ResponseData(
        energies_ev=energies,
        gmax_mry=(0, 2000, 4000, 6000),
        n_g=(1, 9, 15, 27),
        eps=np.tile(eps, (4, 3, 1)),
        peak_memory_mb=80.0,
    )


def _spoilt(data: ResponseData, energy: int, value: complex) -> ResponseData:
    eps = data.eps.copy()
    eps[2, 1, energy] = value
    return replace(data, eps=eps)


def test_good_response_passes(data: ResponseData) -> None:
    assert fault(data, PROTOCOL) is None


@pytest.mark.parametrize(
    ("energy", "value", "words"),
    [
        (50, complex(np.nan, 0), "not finite"),
        (50, complex(1, np.inf), "not finite"),
        (50, -1j, "along y at 4000 mRy: Im eps falls to -1"),
        (0, 0.9 + 0j, "below 1"),
    ],
)
def test_unbelievable_number(data: ResponseData, energy: int, value: complex, words: str) -> None:
    assert words in str(fault(_spoilt(data, energy, value), PROTOCOL))


def test_slight_undershoot_is_allowed(data: ResponseData) -> None:
    largest = data.eps.imag.max()
    assert fault(_spoilt(data, 50, 2 - 0.009j * largest), PROTOCOL) is None
    assert fault(_spoilt(data, 50, 2 - 0.011j * largest), PROTOCOL) is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energies_ev": np.linspace(0.0, 20.1, 101)}, "energy grid"),
        ({"energies_ev": np.linspace(0.0, 20.0, 100)}, "energy grid"),
        ({"gmax_mry": (0, 2000, 4000, 8000)}, "cutoffs"),
        ({"eps": np.ones((3, 3, 101), dtype=complex)}, "shape"),
    ],
)
def test_response_of_another_request(data: ResponseData, change: dict[str, Any], words: str) -> None:
    assert words in str(fault(replace(data, **change), PROTOCOL))


def test_converged_ladder_is_kept_up_to_its_largest_cutoff(data: ResponseData) -> None:
    steps = ladder_steps(data, SIMILARITY, (2000, 4000, 4000))
    assert [step.gmax_mry for step in steps] == [0, 2000, 4000]
    assert [step.n_g for step in steps] == [1, 9, 15]
    assert steps[0].step_similarity is None
    assert steps[2].step_similarity == (0.95, 0.95, 0.92)


def test_ladder_ends_at_the_step_all_directions_agree_on(data: ResponseData) -> None:
    steps = ladder_steps(data, SIMILARITY, (2000, 2000, 2000))
    assert [step.gmax_mry for step in steps] == [0, 2000]


def test_unconverged_ladder_is_kept_whole(data: ResponseData) -> None:
    assert len(ladder_steps(data, SIMILARITY, (2000, None, 4000))) == 4
    done = response_done(data, SIMILARITY, (2000, None, 4000))
    assert done.converged_gmax_mry == (2000, None, 4000)
    assert (done.last_gmax_mry, done.last_similarity) == (6000, (0.99, 0.99, 0.98))


def test_ipa_alone_is_a_ladder_of_one(data: ResponseData) -> None:
    protocol = PROTOCOL.ipa_only()
    alone = replace(data, gmax_mry=(0,), n_g=(1,), eps=data.eps[:1])
    assert fault(alone, protocol) is None
    assert fault(alone, protocol, whole_ladder=False) is None
    # Neither is the answer to the other.
    assert "cutoffs" in str(fault(data, protocol))
    assert "cutoffs" in str(fault(data, protocol, whole_ladder=False))
    assert "cutoffs" in str(fault(alone, PROTOCOL))
    assert "cutoffs" in str(fault(alone, PROTOCOL, whole_ladder=False))
    (step,) = ladder_steps(alone, (), (None, None, None))
    assert (step.gmax_mry, step.n_g, step.step_similarity) == (0, 1, None)
    assert response_done(alone, (), (None, None, None)).last_similarity is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off"])
def test_file_that_is_absent_or_cut_off(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "response.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CalculationError, match="not complete"):
        load_response(path)


def test_file_reads_back(tmp_path: Path, data: ResponseData) -> None:
    path = tmp_path / "response.npz"
    np.savez(
        path,
        energies_ev=data.energies_ev,
        gmax_mry=data.gmax_mry,
        n_g=data.n_g,
        eps_real=data.eps.real,
        eps_imag=data.eps.imag,
        peak_memory_mb=80.0,
    )
    found = load_response(path)
    np.testing.assert_array_equal(found.eps, data.eps)
    assert (found.gmax_mry, found.n_g, found.peak_memory_mb) == (data.gmax_mry, data.n_g, 80.0)


def _solver(monkeypatch: pytest.MonkeyPatch, directory: Path, code: str) -> None:
    """Another program in the solver's place; it counts its starts."""
    count = f"open({str(directory / 'starts')!r}, 'a').write('x')\n"
    monkeypatch.setattr(responses, "response_argv", lambda *_: [sys.executable, "-c", count + code])


def _run(directory: Path, cancelled: threading.Event | None = None) -> str:
    done, usage = responses.run_response(
        directory, None, directory, PROTOCOL, cancelled or threading.Event()
    )
    assert isinstance(done, StepFailed)
    assert usage.cpu_s > 0
    assert done.diagnosis
    return done.reason


def test_solver_that_says_what_is_wrong_is_quoted_and_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _solver(monkeypatch, tmp_path, "raise SystemExit('no projectors for f')")
    reason = _run(tmp_path)
    assert "exit code 1" in reason
    assert "no projectors for f" in reason
    assert (tmp_path / "starts").read_text() == "x"


def test_solver_that_is_killed_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _solver(monkeypatch, tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert "exit code -9" in _run(tmp_path)
    assert (tmp_path / "starts").read_text() == "x" * ATTEMPTS


def test_wrong_numbers_are_not_computed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: ResponseData
) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(
        path,
        energies_ev=data.energies_ev,
        gmax_mry=data.gmax_mry,
        n_g=data.n_g,
        eps_real=data.eps.real * np.nan,
        eps_imag=data.eps.imag,
        peak_memory_mb=80.0,
    )
    _solver(monkeypatch, tmp_path, f"import shutil; shutil.copy({str(path)!r}, 'response.npz')")
    assert _run(tmp_path) == "response: eps holds numbers that are not finite"
    assert (tmp_path / "starts").read_text() == "x"


def test_cancelled_solver_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()
    _solver(monkeypatch, tmp_path, "import time; time.sleep(300)")
    threading.Timer(0.3, cancelled.set).start()
    with pytest.raises(LeaseLostError):
        _run(tmp_path, cancelled)


def test_solver_is_asked_for_the_protocol(tmp_path: Path) -> None:
    argv = responses.response_argv(tmp_path, PROTOCOL)
    asked = [argv[i + 1] for i, word in enumerate(argv) if word == "--gmax-mry"]
    assert asked == ["0", "2000", "4000", "6000"]
    assert "--bands" not in argv
    assert responses.response_argv(tmp_path, PROTOCOL, 12)[-2:] == ["--bands", "12"]
    for option, value in (
        ("--damping-ev", "0.3"),
        ("--green-function", "time-ordered"),
        ("--n-energies", "101"),
        ("--energy-max-ev", "20.0"),
    ):
        assert argv[argv.index(option) + 1] == value
