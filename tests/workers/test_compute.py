"""Whole jobs on diamond with real programs: every outcome, killed and resumed, cancelled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from crude_jobs import make_job

from farm.backlog.records import pack_protocol, pack_record
from farm.crystal import Crystal
from farm.errors import LeaseLostError, MissingProgramError, ProtocolError
from farm.job import Job, Outcome, Stage
from farm.result import Result
from farm.spectrum import similarity_coefficient
from workers.attempts import ATTEMPTS
from workers.compute import compute
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.scratch import failed_directory
from workers.supervise import run_pw


def _distance(result: Result, reference: Result) -> float:
    """1 - SC of the IPA spectra along x."""
    assert result.ipa is not None
    assert reference.ipa is not None
    imaginary, energies_ev = reference.ipa.eps[0].imag, reference.energies_ev
    return 1 - similarity_coefficient(result.ipa.eps[0].imag, imaginary, energies_ev)


@pytest.fixture(scope="module")
def fresh(pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """An undisturbed run."""
    a = 1.7835
    crystal = Crystal(
        material_id="C",
        lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
        species=("C", "C"),
        frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
    )
    return compute(make_job(crystal), scratch=tmp_path_factory.mktemp("fresh"), pseudo_dir=pw_x)


def test_job_comes_back_with_spectra(fresh: Result) -> None:
    assert fresh.outcome in (Outcome.DONE, Outcome.UNCONVERGED)
    assert fresh.rpa is not None
    assert fresh.ipa is not None
    # Far above diamond's 5.7: of 2x2x2 points one lies near Gamma. Local fields screen it down.
    assert 5 < fresh.rpa.eps_inf < fresh.ipa.eps_inf < 20
    np.testing.assert_allclose(fresh.rpa.eps[0], fresh.rpa.eps[2], atol=0.05)
    assert [step.gmax_mry for step in fresh.ladder][:3] == [0, 2000, 4000]
    assert fresh.gap_indirect_ev is not None
    assert 3.5 < fresh.gap_indirect_ev < 5
    assert [usage.stage for usage in fresh.stages] == list(Stage)
    assert all(usage.cpu_s > 0.01 and usage.wall_s > 0.01 for usage in fresh.stages)
    assert [step.name for step in fresh.steps] == ["scf-30Ry-2x2x2", "potential", "spectra"]
    assert all((step.outcome, step.attempts) == ("ok", 1) for step in fresh.steps)
    assert all(step.cpu_s > 0.01 and step.peak_memory_mb > 5 for step in fresh.steps)
    assert fresh.cpu_s == pytest.approx(sum(step.cpu_s for step in fresh.steps))
    # With its wavefunctions, which are gone soon after: 8 points of some 200 plane waves and 4 bands.
    assert 0.1 < fresh.steps[0].disk_mb < 10
    assert fresh.diagnosis in ("", "local_fields_unconverged")
    assert fresh.parameters["bands"] == "reduced-basis"
    assert fresh.parameters["bands_reach_ev"] >= 25
    assert 0 <= fresh.parameters["bands_error_window_ev"] < 0.005
    assert fresh.parameters["bands_error_pw_ev"] < 0.001
    assert fresh.parameters["ecutrho_ry"] == 120
    assert fresh.parameters["n_kpoints"] <= fresh.parameters["n_kpoints_full"] == 8
    assert [run["step"]["kind"] for run in fresh.parameters["runs"]] == [
        "ScfStep",
        "PotentialStep",
        "SpectraStep",
    ]
    assert fresh.parameters["runs"][0]["inputs"][0]["values"]["ecutwfc_ry"] == 30
    assert set(fresh.programs) == {"farm", "pw.x"}
    assert fresh.space_group == "Fd-3m"
    assert Result.unpack(fresh.pack()).outcome is fresh.outcome


def test_scratch_is_empty_after_success(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    seen: list[tuple[Stage, str]] = []
    wavefunctions: list[int] = []

    def watch(stage: Stage, text: str) -> None:
        seen.append((stage, text))
        wavefunctions.append(len(list(tmp_path.rglob("*wfc*"))))

    compute(make_job(diamond, bands="nscf"), scratch=tmp_path, pseudo_dir=pw_x, on_progress=watch)
    assert list(tmp_path.iterdir()) == []
    # Before scf, before bands, before the response: only the last has any.
    assert wavefunctions[:2] == [0, 0]
    assert wavefunctions[2] > 0
    assert [stage for stage, _ in seen] == list(Stage)
    assert seen[0][1] == "scf-30Ry-2x2x2"


def test_spectra_are_those_of_a_dense_nscf_run(
    diamond: Crystal, pw_x: Path, tmp_path: Path, fresh: Result
) -> None:
    result = compute(make_job(diamond, bands="nscf"), scratch=tmp_path, pseudo_dir=pw_x)
    assert result.parameters["bands"] == "nscf"
    assert result.rpa is not None
    assert fresh.rpa is not None
    # The reduced basis keeps no more bands than reach the window: RPA spectra feel that, IPA ones do not.
    assert result.parameters["nbnd"] >= fresh.parameters["nbnd"]
    assert _distance(fresh, result) < 1e-3
    assert result.gap_indirect_ev == pytest.approx(fresh.gap_indirect_ev, abs=0.003)


@pytest.mark.parametrize("way", ["reduced-basis", "nscf"])
def test_ipa_alone_is_the_ipa_of_the_whole_ladder(
    diamond: Crystal, pw_x: Path, tmp_path: Path, fresh: Result, way: str
) -> None:
    job = make_job(diamond, bands=way, gmax_max_mry=0)
    result = compute(job, scratch=tmp_path, pseudo_dir=pw_x)
    assert (result.outcome, result.reason, result.diagnosis) == (Outcome.DONE, "", "")
    assert result.rpa is None
    (step,) = result.ladder
    assert (step.gmax_mry, step.n_g, step.step_similarity) == (0, 1, None)
    assert result.gmax_converged_mry == (None, None, None)
    # Band structure, gaps and cost are those of any job.
    assert [usage.stage for usage in result.stages] == list(Stage)
    assert (result.band_structure is None) == (way == "nscf")
    assert result.gap_indirect_ev == pytest.approx(fresh.gap_indirect_ev, abs=0.003)
    assert Result.unpack(result.pack()).rpa is None
    assert list(tmp_path.iterdir()) == []
    if way == "reduced-basis":
        assert fresh.ipa is not None
        np.testing.assert_allclose(step.eps, fresh.ipa.eps, rtol=1e-4, atol=1e-4)
    else:
        assert _distance(result, fresh) < 1e-3


def test_a_metal_and_a_kgrid_end_alike_without_local_fields(
    diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    metal = compute(make_job(diamond, gmax_max_mry=0, metal_gap_ev=20.0), scratch=tmp_path, pseudo_dir=pw_x)
    assert (metal.outcome, metal.diagnosis, metal.ladder) == (Outcome.METAL, "small_gap", ())
    converged = make_job(diamond, gmax_max_mry=0, kgrid="converged", kgrid_similarity=0.5)
    result = compute(converged, scratch=tmp_path, pseudo_dir=pw_x)
    # The grids are judged by their IPA spectra.
    assert len(result.parameters["kgrids"]) >= 2
    assert result.outcome is Outcome.DONE
    assert len(result.ladder) == 1


def test_nothing_of_the_reduced_basis_is_left_on_disk(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    wavefunctions: list[int] = []

    def watch(_stage: Stage, _text: str) -> None:
        wavefunctions.append(len(list(tmp_path.rglob("*wfc*"))))

    compute(make_job(diamond), scratch=tmp_path, pseudo_dir=pw_x, on_progress=watch)
    assert wavefunctions == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_band_structure_comes_with_the_spectra(fresh: Result) -> None:
    bands = fresh.band_structure
    assert bands is not None
    assert bands.valence_maximum_at == "GAMMA"
    assert fresh.gap_indirect_ev is not None
    assert 3.0 < bands.gap_indirect_ev < fresh.gap_indirect_ev
    assert 85 <= bands.n_points <= 115


def test_job_falls_back_on_nscf_where_pp_fails(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: Result
) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    program = broken / "pp.x"
    program.write_text("#!/bin/sh\necho 'no potential today'\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    result = compute(make_job(diamond), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.parameters["bands"] == "nscf"
    (correction,) = result.corrections
    assert correction.remedy == "bands by a dense nscf run"
    assert "no potential today" in correction.evidence
    assert correction.worked
    assert [(step.name, step.outcome) for step in result.steps][1] == ("potential", "failed")
    assert result.steps[1].attempts == ATTEMPTS
    assert not result.physics_changed
    assert result.outcome is fresh.outcome
    assert result.rpa is not None


@pytest.mark.parametrize("way", ["reduced-basis", "nscf"])
def test_killed_worker_resumes_after_its_last_good_step(
    diamond: Crystal, pw_x: Path, tmp_path: Path, fresh: Result, way: str
) -> None:
    job = make_job(diamond, bands=way)
    worker = _spawn_worker(job, pw_x, tmp_path)
    last = "spectra" if way == "reduced-basis" else "bands"
    _wait_for(lambda: (tmp_path / "stages").is_file() and last in (tmp_path / "stages").read_text())
    worker.kill()
    worker.wait()
    seen: list[Stage] = []
    result = compute(
        job, scratch=tmp_path / "scratch", pseudo_dir=pw_x, on_progress=lambda stage, _: seen.append(stage)
    )
    assert Stage.GROUND_STATE not in seen
    assert result.stages[0].cpu_s > 0
    # What was given to the steps before is kept over the kill.
    assert result.parameters["runs"][0]["inputs"] == fresh.parameters["runs"][0]["inputs"] != []
    assert result.rpa is not None
    assert fresh.rpa is not None
    assert _distance(result, fresh) < (1e-4 if way == "reduced-basis" else 1e-3)


def test_killed_worker_takes_pw_with_it(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    # Heavy enough that pw.x would run for minutes.
    job = make_job(diamond, ecutwfc_ry=200, ecutwfc_max_ry=200, ground_state_kppa=2000)
    worker = _spawn_worker(job, pw_x, tmp_path)
    _wait_for(lambda: bool(_programs_below(tmp_path)))
    worker.kill()
    worker.wait()
    _wait_for(lambda: not _programs_below(tmp_path))


def test_cancelled_job_leaves_nothing(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    cancelled = threading.Event()
    job = make_job(diamond, ecutwfc_ry=200, ecutwfc_max_ry=200, ground_state_kppa=2000)
    threading.Timer(1.0, cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(LeaseLostError):
        compute(job, scratch=tmp_path, pseudo_dir=pw_x, cancelled=cancelled)
    assert time.monotonic() - started < 10
    assert list(tmp_path.iterdir()) == []
    assert not _programs_below(tmp_path)


@pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun missing")
def test_two_ranks_give_the_same_spectra(
    diamond: Crystal, pw_x: Path, tmp_path: Path, fresh: Result
) -> None:
    result = compute(make_job(diamond), scratch=tmp_path, pseudo_dir=pw_x, ranks=2)
    assert result.corrections == ()
    assert (result.parameters["ranks"], fresh.parameters["ranks"]) == (2, 1)
    assert result.rpa is not None
    assert fresh.rpa is not None
    np.testing.assert_allclose(result.rpa.eps, fresh.rpa.eps, atol=0.02)


def test_hopeless_scf_is_a_failed_result(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    job = make_job(diamond, max_scf_iterations=1)
    result = compute(job, scratch=tmp_path, pseudo_dir=pw_x)
    assert result.outcome is Outcome.FAILED
    assert "scf_unconverged (pw-5.out:120: convergence NOT achieved" in result.reason
    assert result.diagnosis == "scf_unconverged"
    assert [correction.worked for correction in result.corrections] == [False] * 4
    (step,) = result.steps
    assert (step.outcome, step.attempts) == ("failed", 5)
    assert result.stages[0].cpu_s > 0
    assert result.ladder == ()
    kept = failed_directory(tmp_path, job.job_id)
    assert (kept / "scf-30Ry-2x2x2" / "pw-5.out").is_file()
    assert not list(tmp_path.rglob("*.dat"))


def test_small_gap_is_a_metal_with_its_gaps(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    result = compute(make_job(diamond, metal_gap_ev=50.0), scratch=tmp_path, pseudo_dir=pw_x)
    assert result.outcome is Outcome.METAL
    assert result.gap_indirect_ev is not None
    assert "is below 50 eV" in result.reason
    assert result.diagnosis == "small_gap"
    assert list(tmp_path.iterdir()) == []


def test_short_bands_are_redone(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.pipeline.estimate_nbnd", lambda *_: 8)
    seen: list[str] = []
    result = compute(
        make_job(diamond, bands="nscf"),
        scratch=tmp_path,
        pseudo_dir=pw_x,
        on_progress=lambda _, text: seen.append(text),
    )
    assert seen[1] == "bands-8"
    assert seen[2].startswith("bands-")
    assert result.parameters["nbnd"] > 8
    assert result.parameters["bands_reach_ev"] >= 25


def test_ladders_use_the_smaller_rung_that_agrees(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0, metal_gap_ev=50.0)
    result = compute(job, scratch=tmp_path, pseudo_dir=pw_x, on_progress=lambda _, text: seen.append(text))
    # The bands tell what the energy on the next grid would be.
    assert seen == ["scf-30Ry-2x2x2", "scf-35Ry-2x2x2-loose", "potential", "spectra"]
    assert (result.parameters["ecutwfc_ry"], result.parameters["ground_state_kgrid"]) == (30, [2, 2, 2])
    assert result.parameters["ground_state_runs"] == 2


@pytest.mark.parametrize("lost", [False, True])
def test_stopped_ladder_goes_on_from_the_density_it_has(
    diamond: Crystal, pw_x: Path, tmp_path: Path, *, lost: bool
) -> None:
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0, metal_gap_ev=50.0)
    first, second = "scf-30Ry-2x2x2", "scf-35Ry-2x2x2-loose"

    def stop(_: Stage, text: str) -> None:
        if text == second:
            raise SystemExit(0)

    with pytest.raises(SystemExit):
        compute(job, scratch=tmp_path, pseudo_dir=pw_x, on_progress=stop)
    assert not list(tmp_path.rglob("wfc*"))
    (density,) = tmp_path.rglob("charge-density.dat")
    if lost:
        density.unlink()
    seen: list[str] = []
    started_from: list[str] = []

    def watch(_: Stage, text: str) -> None:
        seen.append(text)
        started_from.extend(path.read_text() for path in tmp_path.rglob(f"{second}/pw-1.out"))

    result = compute(job, scratch=tmp_path, pseudo_dir=pw_x, on_progress=watch)
    assert seen[0] == (first if lost else second)
    assert "The initial density is read from file" in started_from[0]
    assert result.parameters["ground_state_runs"] == 2


def test_ladder_is_climbed_without_loose_runs_where_these_fail(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    program = broken / "pw.x"
    program.write_text(f"""#!/bin/sh
case "$PWD" in *-loose) echo 'no loose energies today'; exit 1;; esac
exec '{shutil.which("pw.x")}' "$@"
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0, metal_gap_ev=50.0)
    result = compute(job, scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert [(step.name, step.outcome) for step in result.steps] == [
        ("scf-30Ry-2x2x2", "ok"),
        ("scf-35Ry-2x2x2-loose", "failed"),
        ("scf-35Ry-2x2x2", "ok"),
        ("potential", "ok"),
        ("spectra", "ok"),
    ]
    assert result.parameters["ecutwfc_ry"] == 30
    assert not any(correction.worked for correction in result.corrections)


def test_energy_on_the_next_grid_is_that_of_pw(
    diamond: Crystal, pw_x: Path, tmp_path: Path, pw_input: PwInput, make_session: Callable[..., PwSession]
) -> None:
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0, ground_state_kppa=128)
    result = compute(job, scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    grids = result.parameters["ground_state_kgrid"], result.parameters["ground_state_check_kgrid"]
    assert np.prod(grids[1]) > np.prod(grids[0])
    energies_ev = []
    for name, grid in zip(("first", "next"), grids, strict=True):
        run = pw_input.evolve(ecutwfc_ry=30, ecutrho_ry=120, kgrid=tuple(grid))
        energies_ev.append(run_pw(make_session(run, step=name)).energy_ev)
    expected_ev = energies_ev[1] - energies_ev[0]
    assert abs(expected_ev) > 0.005
    assert result.parameters["ground_state_energy_change_ev"] == pytest.approx(expected_ev, abs=0.002)


def test_next_grid_is_run_where_the_bands_say_that_it_matters(
    diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    seen: list[str] = []
    job = make_job(
        diamond, energy_tolerance_kcal_mol=3.0, ecutwfc_ry=60, ecutwfc_max_ry=80, ground_state_kppa=16
    )
    result = compute(job, scratch=tmp_path, pseudo_dir=pw_x, on_progress=lambda _, text: seen.append(text))
    first = seen.index("spectra")
    assert seen[first + 1].endswith("-loose")
    assert seen[-2:] == ["potential", "spectra"]
    grid = "x".join(map(str, result.parameters["ground_state_kgrid"]))
    assert grid != "2x2x2"
    assert f"scf-60Ry-{grid}" in seen
    assert result.rpa is not None


def test_ground_state_is_that_of_a_ladder_without_cheap_rungs(
    diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    job = make_job(diamond, energy_tolerance_kcal_mol=1.0, ground_state_kppa=700, ecutwfc_max_ry=80)
    cheap = compute(job, scratch=tmp_path, pseudo_dir=pw_x)
    names = [step.name for step in cheap.steps if step.stage is Stage.GROUND_STATE]
    assert names[0].endswith("-loose")
    (last,) = [name for name in names if not name.endswith("-loose")]
    # The same rung, from atoms and alone.
    cutoff, grid = int(last.split("-")[1].removesuffix("Ry")), cheap.parameters["ground_state_kgrid"]
    alone = make_job(diamond, ground_state_kppa=700, ecutwfc_ry=cutoff)
    reference = compute(alone, scratch=tmp_path, pseudo_dir=pw_x)
    assert (reference.parameters["ground_state_kgrid"], cheap.parameters["ecutwfc_ry"]) == (grid, cutoff)
    assert _distance(cheap, reference) < 5e-5


def test_odd_electrons_are_a_metal_without_running(tmp_path: Path) -> None:
    aluminium = Crystal(
        material_id="Al",
        lattice_angstrom=((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0)),
        species=("Al",),
        frac_coords=((0.0, 0.0, 0.0),),
    )
    result = compute(make_job(aluminium), scratch=tmp_path, pseudo_dir=tmp_path)
    assert result.outcome is Outcome.METAL
    assert "odd electron count 11" in result.reason
    assert (result.diagnosis, result.stages, result.steps) == ("odd_electrons", (), ())


def test_missing_pseudopotentials_and_programs_are_not_the_materials_fault(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingProgramError, match="pseudopotential"):
        compute(make_job(diamond), scratch=tmp_path, pseudo_dir=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"pw\.x is not installed"):
        compute(make_job(diamond), scratch=tmp_path, pseudo_dir=pw_x)


def test_protocol_that_is_not_its_hash_is_refused(diamond: Crystal, tmp_path: Path) -> None:
    job = make_job(diamond)
    forged = Job(crystal=diamond, protocol={**job.protocol, "ecutwfc_ry": 20}, protocol_hash="../../etc")
    with pytest.raises(ProtocolError, match="hash"):
        compute(forged, scratch=tmp_path, pseudo_dir=tmp_path)


def _spawn_worker(job: Job, pseudo_dir: Path, directory: Path) -> subprocess.Popen[bytes]:
    (directory / "job").write_bytes(pack_record(job))
    (directory / "protocol").write_bytes(pack_protocol(job.protocol_hash, job.protocol))
    script = f"""
from pathlib import Path
from farm.backlog.records import unpack_job
from workers.compute import compute
here = Path({str(directory)!r})
def progress(stage, text):
    with (here / "stages").open("a") as file:
        file.write(text + "\\n")
packed = [(here / name).read_bytes() for name in ("job", "protocol")]
job = unpack_job({job.job_id!r}, *packed, 1.0, {job.queue!r})
compute(job, scratch=here / "scratch", pseudo_dir=Path({str(pseudo_dir)!r}), on_progress=progress)
"""
    return subprocess.Popen([sys.executable, "-c", script])


def _programs_below(directory: Path) -> list[int]:
    found = []
    for process in psutil.process_iter(["name", "cwd", "status"]):
        inside = str(process.info["cwd"] or "").startswith(str(directory))
        if process.info["name"] == "pw.x" and inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def _wait_for(condition: Any, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
