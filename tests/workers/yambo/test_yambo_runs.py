"""The engine from pw.x' saves to three directions: real yambo where it is installed, else its stand-in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farm.crystal import Crystal
from farm.errors import CalculationError, CrystalError, LeaseLostError, ResourceError
from farm.protocol import Protocol
from tests.workers.yambo.conftest import LAYERED_PROTOCOL, PROTOCOL
from workers.history import ResponseDone
from workers.responses import judge, read_response
from workers.spectra import load_response
from workers.yambo.inputs import parse_input
from workers.yambo.response import Request, YamboResponse, save_response

MakeRequest = Callable[..., Request]
StandIn = Callable[..., None]


def test_cubic_crystal_takes_one_direction(
    engine: Callable[[str], str], make_request: MakeRequest, diamond: Crystal, tmp_path: Path
) -> None:
    which = engine("C")
    response = YamboResponse(make_request(diamond))
    data = response.run()
    assert data.eps.shape == (len(data.gmax_mry), 3, 2001)
    assert np.array_equal(data.eps[:, 0], data.eps[:, 1])
    assert np.array_equal(data.eps[:, 0], data.eps[:, 2])
    assert data.gmax_mry[:3] == (0, 2000, 4000)
    assert data.n_g[:3] == (1, 9, 27)
    assert judge(data, PROTOCOL).converged_gmax_mry == (4000,) * 3
    assert response.version[0] == "5"
    # mpirun, the set-up, and one run a rung: none for IPA alone.
    assert response.usage.attempts == 4
    assert response.usage.cpu_s > 0
    assert response.corrections == []
    assert not list(response.request.directory.glob("y-*"))
    # The file is the one that our own solver writes.
    save_response(tmp_path / "response.npz", data)
    read = load_response(tmp_path / "response.npz")
    assert np.array_equal(read.eps, data.eps)
    assert (read.gmax_mry, read.n_g) == (data.gmax_mry, data.n_g)
    if which == "stand-in":
        assert data.eps[1, 0, 0].real == pytest.approx(5.645, abs=0.01)


def test_ipa_alone_is_one_run_a_direction(
    engine: Callable[[str], str], make_request: MakeRequest, layered: Crystal
) -> None:
    which = engine("BN")
    response = YamboResponse(make_request(layered, LAYERED_PROTOCOL.ipa_only()))
    data = response.run()
    assert (data.gmax_mry, data.n_g) == ((0,), (1,))
    assert data.eps.shape == (1, 3, 2001)
    assert np.array_equal(data.eps[:, 0], data.eps[:, 1])
    # mpirun, the set-up, and one run in the plane and one along z.
    assert response.usage.attempts == 4
    directory = response.request.directory
    assert sorted(path.name for path in directory.glob("*-*-1")) == ["x-0-1", "z-0-1"]
    _, entries = parse_input((directory / "x-0-1" / "yambo.in").read_text())
    assert entries["NGsBlkXd"] == (0, "mRy")
    save_response(directory / "response.npz", data)
    done = read_response(directory, LAYERED_PROTOCOL.ipa_only(), whole_ladder=False)
    assert isinstance(done, ResponseDone)
    assert done.last_similarity is None
    if which == "stand-in":
        # The recorded runs give both rungs.
        whole = YamboResponse(make_request(layered, LAYERED_PROTOCOL)).run()
        assert np.array_equal(data.eps[0], whole.eps[0])


def test_layered_crystal_takes_two_directions(
    engine: Callable[[str], str], make_request: MakeRequest, layered: Crystal
) -> None:
    which = engine("BN")
    response = YamboResponse(make_request(layered, LAYERED_PROTOCOL))
    data = response.run()
    assert np.array_equal(data.eps[:, 0], data.eps[:, 1])
    assert not np.allclose(data.eps[:, 0], data.eps[:, 2], rtol=0.1)
    verdict = judge(data, LAYERED_PROTOCOL)
    # In the plane 2 Ry hold only G vectors that do not couple (a little on so coarse a grid, on which
    # yambo loses members of stars): the ladder goes on.
    assert verdict.step_similarity[0][0] > (0.999 if which == "real" else 1 - 1e-6)
    assert verdict.converged_gmax_mry[0] != 2000
    assert data.n_g[:3] == (1, 7, 51)
    if which == "stand-in":
        assert verdict.converged_gmax_mry == (4000, 4000, 8000)
        assert data.n_g == (1, 7, 51, 53, 95)
        # What converged before was not computed again.
        assert not (response.request.directory / "x-6000-1").exists()
        assert np.array_equal(data.eps[4, 0], data.eps[2, 0])


def test_dipoles_are_computed_once(stand_in: StandIn, make_request: MakeRequest, diamond: Crystal) -> None:
    stand_in()
    response = YamboResponse(make_request(diamond))
    response.run()
    directory = response.request.directory
    text = (directory / "x-4000-1" / "yambo.in").read_text()
    runlevels, entries = parse_input(text)
    assert runlevels == ("optics", "chi")
    assert entries["NGsBlkXd"] == (4000, "mRy")
    assert (directory / "x-2000-1" / "run").is_dir()
    assert (directory / "x-4000-1" / "run").is_dir()
    assert response._dipoles == "../x-2000-1/run"


def test_two_ranks_share_the_kpoints(
    engine: Callable[[str], str], make_request: MakeRequest, diamond: Crystal
) -> None:
    if engine("C") == "stand-in":
        pytest.skip("a stand-in of two ranks would write everything twice")
    response = YamboResponse(make_request(diamond, ranks=2))
    data = response.run()
    _, entries = parse_input((response.request.directory / "x-2000-1" / "yambo.in").read_text())
    assert (entries["X_CPU"], entries["X_ROLEs"]) == ("1 1 2 1 1", "q g k c v")
    assert response.corrections == []
    assert data.n_g[:3] == (1, 9, 27)


def test_killed_job_goes_on_with_what_is_there(
    stand_in: StandIn, make_request: MakeRequest, diamond: Crystal
) -> None:
    stand_in(failure="killed*100")
    request = make_request(diamond)
    with pytest.raises(CalculationError, match="killed"):
        YamboResponse(request).run()
    stand_in()
    first = YamboResponse(request)
    data = first.run()
    again = YamboResponse(request)
    assert np.array_equal(again.run().eps, data.eps)
    assert again.usage.attempts == 0
    # What the kept rungs were given is kept with them.
    assert [used.file for used in first.inputs] == ["x-2000-1/yambo.in", "x-4000-1/yambo.in"]
    assert again.inputs == first.inputs
    # A rung that was cut off in the writing is computed again.
    (request.directory / "x-4000.npz").write_bytes(b"PK")
    once_more = YamboResponse(request)
    assert np.array_equal(once_more.run().eps, data.eps)
    assert once_more.usage.attempts == 3


@pytest.mark.parametrize(
    ("failure", "diagnosis", "remedies"),
    [
        ("truncated*1", "incomplete_output", ["fresh databases"]),
        ("no_numbers*1", "incomplete_output", ["fresh databases"]),
        ("misspelt*1", "incomplete_output", ["fresh databases"]),
        ("bands_clipped*1", "incomplete_output", ["fresh databases"]),
        ("no_commutator*2", "incomplete_output", ["fresh databases", "SAVE made anew"]),
        ("killed*1", "killed", ["the same again from a clean directory"]),
        ("mute*2", "killed", ["the same again from a clean directory", "fresh databases"]),
        ("databases*1", "databases_inconsistent", ["fresh databases"]),
        ("p2y_mute*1", "p2y_incomplete", ["the same again from a clean directory"]),
    ],
)
def test_failure_is_recognised_and_mended(
    stand_in: StandIn,
    make_request: MakeRequest,
    diamond: Crystal,
    failure: str,
    diagnosis: str,
    remedies: list[str],
) -> None:
    stand_in(failure=failure)
    response = YamboResponse(make_request(diamond))
    data = response.run()
    assert data.n_g[:3] == (1, 9, 27)
    assert [c.diagnosis for c in response.corrections] == [diagnosis] * len(remedies)
    assert [c.remedy for c in response.corrections] == remedies
    assert not any(c.changes_physics for c in response.corrections)


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (
            "truncated",
            CalculationError,
            r"incomplete_output .*rows.*tried: fresh.*SAVE made anew",
        ),
        ("misspelt", CalculationError, "a block of 1 G vectors, of unknown size, asked for 2000 mRy"),
        ("no_commutator", CalculationError, r"\[r,Vnl\] is not included"),
        ("out_of_memory", ResourceError, "out_of_memory"),
        ("p2y_disk_full", ResourceError, "disk_full"),
        ("metal", CrystalError, "metal"),
    ],
)
def test_failure_that_stays_ends_with_its_diagnosis(
    stand_in: StandIn,
    make_request: MakeRequest,
    diamond: Crystal,
    failure: str,
    error: type[Exception],
    words: str,
) -> None:
    stand_in(failure=failure)
    response = YamboResponse(make_request(diamond))
    with pytest.raises(error, match=words):
        response.run()
    assert not list(response.request.directory.glob("*.npz"))


def test_memory_is_asked_for_before_the_run(
    stand_in: StandIn, make_request: MakeRequest, diamond: Crystal, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in()
    monkeypatch.setattr("workers.yambo.response.available_memory_bytes", lambda: 100 * 2**20)
    response = YamboResponse(make_request(diamond))
    with pytest.raises(ResourceError, match=r"x-2000: yambo would need 24\d MB, this machine has 100 MB"):
        response.run()
    assert not (response.request.directory / "x-2000-1").exists()


def test_cancelled_job_leaves_no_process(
    stand_in: StandIn, make_request: MakeRequest, diamond: Crystal
) -> None:
    stand_in()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(LeaseLostError):
        YamboResponse(make_request(diamond), cancelled).run()


def test_other_bands_than_the_crystals_are_refused(
    stand_in: StandIn, make_request: MakeRequest, diamond: Crystal
) -> None:
    stand_in()
    request = replace(make_request(diamond), nbnd=9)
    with pytest.raises(CalculationError, match="bands: SAVE holds 8, asked for 9"):
        YamboResponse(request).run()


def test_retarded_and_another_grid_are_asked_for(
    engine: Callable[[str], str], make_request: MakeRequest, diamond: Crystal
) -> None:
    which = engine("C")
    changes = {"green_function": "retarded", "n_energies": 201, "energy_max_ev": 20.0, "gmax_max_mry": 4000}
    protocol: Protocol = PROTOCOL.model_copy(update=changes)
    data = YamboResponse(make_request(diamond, protocol)).run()
    assert data.energies_ev.size == 201
    # Time-ordered, Im eps(0) is a tenth.
    assert which == "stand-in" or abs(data.eps[0, 0, 0].imag) < 1e-3


def test_databases_of_a_failed_run_are_removed_and_its_reports_stay(
    stand_in: StandIn, make_request: MakeRequest, diamond: Crystal
) -> None:
    stand_in(failure="truncated")
    request = make_request(diamond)
    with pytest.raises(CalculationError):
        YamboResponse(request).run()
    assert not (request.directory / "SAVE").exists()
    assert not list(request.directory.glob("*/run"))
    assert (request.directory / "x-2000-1" / "r-run_optics_chi").is_file()
