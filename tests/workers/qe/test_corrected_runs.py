"""Failures provoked with pw.x: the diagnosis, the changed input, and the run that followed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import CalculationError, LeaseLostError, MissingProgramError, ResourceError
from workers.launcher import launch
from workers.qe.inputs import PwInput, parse_namelists
from workers.qe.jobs import PwSession
from workers.supervise import run_pw

MakeSession = Callable[..., PwSession]


@pytest.fixture
def slow_input(pw_input: PwInput) -> PwInput:
    """The same atoms, but pw.x is busy for a second or two."""
    return pw_input.evolve(ecutwfc_ry=60, ecutrho_ry=480, kgrid=(3, 3, 3), use_symmetry=False)


@pytest.fixture
def bands_input(pw_input: PwInput) -> PwInput:
    """Two explicit k-points from the density of ``pw_input``."""
    return pw_input.evolve(
        calculation="nscf",
        kgrid=None,
        kpoints=((0.015625, 0.03125, 0.046875), (0.265625, 0.03125, 0.046875)),
        kweights=(1.0, 1.0),
        nbnd=12,
        diago_thr_ry=1e-6,
        use_symmetry=False,
    )


def test_good_run_needs_one_attempt(make_session: MakeSession, pw_input: PwInput) -> None:
    session = make_session(pw_input)
    assert run_pw(session).converged
    assert session.corrections == []
    assert 0.01 < session.usage.cpu_s < 5
    assert session.usage.wall_s > 0.01
    assert [p.name for p in session.directory.glob("pw-*.in")] == ["pw-1.in"]


def test_crash_of_an_earlier_try_is_not_read_as_this_ones(
    make_session: MakeSession, pw_input: PwInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A program that dies before pw.x would have deleted the file itself.
    monkeypatch.setattr("workers.qe.jobs.launch", lambda _, **options: launch(["true"], **options))
    session = make_session(pw_input)
    (session.directory / "CRASH").write_text("from davcio : error # 10\n error writing file\n")
    with pytest.raises(CalculationError, match="killed"):
        run_pw(session)


def test_unconverged_scf_goes_on_from_its_density(make_session: MakeSession, pw_input: PwInput) -> None:
    expected = run_pw(make_session(pw_input)).energy_ev
    session = make_session(pw_input.evolve(electron_maxstep=4), step="short")
    output = run_pw(session)
    assert output.energy_ev == pytest.approx(expected, abs=1e-6)
    assert [c.remedy for c in session.corrections] == ["slower mixing from the last density"]
    assert session.corrections[0].diagnosis == "scf_unconverged"
    assert "convergence NOT achieved after" in session.corrections[0].evidence
    assert not session.corrections[0].changes_physics
    first, second = (
        parse_namelists((session.directory / f"pw-{n}.in").read_text())["ELECTRONS"] for n in (1, 2)
    )
    assert (first["mixing_beta"], first["startingpot"]) == (0.7, "atomic")
    assert (second["mixing_beta"], second["startingpot"]) == (0.4, "file")


def test_hopeless_scf_ends_with_its_diagnosis(make_session: MakeSession, pw_input: PwInput) -> None:
    session = make_session(pw_input.evolve(electron_maxstep=1))
    with pytest.raises(CalculationError, match=r"scf_unconverged .*tried: slower mixing.*local Thomas"):
        run_pw(session)
    assert session.attempt == 5
    assert len(session.corrections) == 4


def test_sigkill_is_repeated_with_the_same_answer(make_session: MakeSession, slow_input: PwInput) -> None:
    session = make_session(slow_input)
    killer = threading.Thread(target=_kill_in_first_iteration, args=(session,))
    killer.start()
    killed = run_pw(session)
    killer.join()
    assert [c.remedy for c in session.corrections] == ["the same again from a clean directory"]
    assert session.corrections[0].diagnosis == "killed"
    undisturbed = run_pw(make_session(slow_input, step="undisturbed"))
    assert killed.energy_ev == pytest.approx(undisturbed.energy_ev, abs=1e-9)


def test_cancelled_run_is_killed_within_seconds(make_session: MakeSession, slow_input: PwInput) -> None:
    cancelled = threading.Event()
    session = make_session(slow_input.evolve(ecutwfc_ry=120, ecutrho_ry=960), cancelled=cancelled)
    timer = threading.Timer(0.3, cancelled.set)
    timer.start()
    started = time.monotonic()
    with pytest.raises(LeaseLostError):
        run_pw(session)
    assert time.monotonic() - started < 10
    assert not session.running
    assert session.attempt == 1
    assert session.corrections == []


def test_altered_pseudopotential_name_is_told_from_a_crash(
    make_session: MakeSession, pw_input: PwInput
) -> None:
    session = make_session(pw_input.evolve(pseudo_files={"C": "C_absent.upf"}))
    with pytest.raises(MissingProgramError, match=r"pseudopotential_missing .*C_absent\.upf not found"):
        run_pw(session)
    assert session.attempt == 1


def test_bands_without_a_density_get_one_fresh_copy(
    make_session: MakeSession, pw_input: PwInput, bands_input: PwInput
) -> None:
    ground_state = make_session(pw_input)
    run_pw(ground_state)
    copies: list[Path] = []

    def prepare(save: Path) -> None:
        # The first copy is lost, as by a full or failing disk.
        if copies:
            _copy_density(ground_state, save)
        copies.append(save)

    session = make_session(bands_input, prepare=prepare)
    output = run_pw(session)
    assert output.eigenvalues_ev.shape == (2, 12)
    assert session.corrections[0].diagnosis == "files_corrupt"
    assert "fatal error reading xml file" in session.corrections[0].evidence
    assert len(copies) == 2


def test_loose_bands_change_the_diagonalisation(
    make_session: MakeSession, pw_input: PwInput, bands_input: PwInput
) -> None:
    ground_state = make_session(pw_input)
    run_pw(ground_state)
    session = make_session(
        # No double-precision eigenvalue gets there: every ladder must end.
        bands_input.evolve(diago_thr_ry=1e-30),
        prepare=lambda save: _copy_density(ground_state, save),
    )
    with pytest.raises(CalculationError, match="tried"):
        run_pw(session)
    inputs = sorted(session.directory.glob("pw-*.in"))
    tried = [parse_namelists(p.read_text())["ELECTRONS"]["diagonalization"] for p in inputs]
    assert tried[:3] == ["david", "paro", "cg"]
    assert len(tried) <= 4


def test_wrong_electron_count_is_refused_although_pw_is_done(
    make_session: MakeSession, pw_input: PwInput
) -> None:
    session = make_session(pw_input, n_electrons=10)
    with pytest.raises(CalculationError, match=r"electrons: found 8\.0, asked for 10\.0"):
        run_pw(session)
    assert session.attempt == 2


def _copy_density(ground_state: PwSession, save: Path) -> None:
    shutil.copytree(ground_state.save_directory, save, dirs_exist_ok=True)


def _lose_density(save: Path) -> None:
    # Every write to /dev/full fails with ENOSPC; pw.x does not notice.
    (save / "charge-density.dat").symlink_to("/dev/full")


def test_density_that_never_reached_the_disk(make_session: MakeSession, pw_input: PwInput) -> None:
    session = make_session(pw_input, prepare=_lose_density)
    with pytest.raises(CalculationError, match="charge-density holds 0 bytes"):
        run_pw(session)
    assert "JOB DONE" in session.stdout()
    assert session.attempt == 2


def test_full_disk_is_the_machines_fault(
    make_session: MakeSession, pw_input: PwInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.sessions.free_disk_bytes", lambda _: 0)
    session = make_session(pw_input, prepare=_lose_density)
    with pytest.raises(ResourceError, match=r"disk_full .*0 MB free"):
        run_pw(session)
    assert session.attempt == 1


def _kill_in_first_iteration(session: PwSession) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        out = session.directory / "pw-1.out"
        if out.is_file() and "iteration #" in out.read_text(errors="replace"):
            (pid,) = session.process_ids
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.01)


_DENSITY_READ = "The initial density is read from file"


def _cancel_once_second_run_reads_density(session: PwSession) -> None:
    deadline = time.monotonic() + 120
    second = session.directory / "pw-2.out"
    while time.monotonic() < deadline:
        if second.is_file() and _DENSITY_READ in second.read_text(errors="replace"):
            break
        time.sleep(0.05)
    session.cancelled.set()


def test_stagnating_scf_is_stopped_softly_and_goes_on_from_its_density(
    make_session: MakeSession, slow_input: PwInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.qe.failures.STAGNATION_ITERATIONS", 3)
    # Below what double precision can reach: no mixing helps.
    session = make_session(slow_input.evolve(conv_thr_ry=1e-30, electron_maxstep=2000))
    stop = threading.Thread(target=_cancel_once_second_run_reads_density, args=(session,))
    stop.start()
    with pytest.raises(LeaseLostError):
        run_pw(session)
    stop.join()
    first = session.corrections[0]
    assert (first.diagnosis, first.remedy) == ("scf_stagnated", "slower mixing from the last density")
    assert "Program stopped by user request" in (session.directory / "pw-1.out").read_text()
    assert _DENSITY_READ in (session.directory / "pw-2.out").read_text()


def test_disk_that_fills_up_is_the_cause_not_the_kill_that_follows(
    make_session: MakeSession, slow_input: PwInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.monitors.free_disk_bytes", lambda _: 10 * 2**20)
    session = make_session(slow_input.evolve(ecutwfc_ry=120, ecutrho_ry=960))
    with pytest.raises(ResourceError, match=r"disk_full \(10 MB free while it ran\)"):
        run_pw(session)
    assert (session.attempt, session.corrections, session.running) == (1, [], False)
