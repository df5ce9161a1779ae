"""Inputs written again are those that ran, byte for byte, and run.sh gives the same numbers."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crude_jobs import make_job
from rerun_jobs import computed, energies_ry, recorded_energies_ry, rerun, without, written

import farm
from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Engine, Outcome
from farm.protocol import PRESETS
from farm.pseudopotentials import entry
from farm.result import Result
from workers.compute import compute
from workers.rerun.write import write_inputs
from workers.spectra import load_response


@pytest.fixture
def tetragonal() -> Crystal:
    """A cell of four atoms that is computed in another: the primitive one of a body-centred lattice."""
    a, c = 3.16, 8.6
    return Crystal(
        material_id="LiF-long",
        lattice_angstrom=((-a / 2, a / 2, c / 2), (a / 2, -a / 2, c / 2), (a / 2, a / 2, -c / 2)),
        species=("Li", "F"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.0)),
    )


def test_a_ladder_is_run_again_without_the_farm_to_the_same_energies(
    diamond: Crystal, pp_x: Path, tmp_path: Path
) -> None:
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0)
    result, inputs = computed(job, tmp_path / "scratch", pp_x)
    told = write_inputs(result, tmp_path / "again")
    assert told["steps"] == ["01-scf-30Ry-2x2x2", "02-scf-35Ry-2x2x2-loose", "03-potential", "04-spectra"]
    assert told["notes"] == []
    assert written(tmp_path / "again") == inputs
    assert "startingpot = 'file'" in inputs["scf-35Ry-2x2x2-loose/pw-1.in"].decode()
    ran = rerun(tmp_path / "again")
    assert (ran.returncode, ran.stderr) == (0, "")
    energies = energies_ry(tmp_path / "again")
    assert list(energies) == ["01-scf-30Ry-2x2x2/pw-1.out", "02-scf-35Ry-2x2x2-loose/pw-1.out"]
    assert list(energies.values()) == pytest.approx(recorded_energies_ry(result), abs=1e-8)
    for here, recorded in re.findall(r"here: +(\S+) Ry\n +total energy recorded: (\S+) Ry", ran.stdout):
        assert float(here) == pytest.approx(float(recorded), abs=1e-8)
    again = load_response(tmp_path / "again" / "04-spectra" / "response.npz")
    for step, eps in zip(result.ladder, again.eps, strict=False):
        np.testing.assert_allclose(eps, step.eps, rtol=1e-5, atol=1e-5)
    # It begins anew: nothing of the first time is in the way.
    assert rerun(tmp_path / "again").returncode == 0
    assert energies_ry(tmp_path / "again") == energies


def test_readme_says_what_it_is(diamond: Crystal, pp_x: Path, tmp_path: Path) -> None:
    result, _ = computed(make_job(diamond), tmp_path / "scratch", pp_x)
    write_inputs(result, tmp_path / "again")
    text = (tmp_path / "again" / "README.txt").read_text()
    assert text.startswith("The inputs of C\n===")
    assert re.search(r"^Outcome +unconverged: local fields along x", text, re.MULTILINE)
    assert f"farm {farm.__version__}, pw.x {result.programs['pw.x']}" in text
    assert f"{recorded_energies_ry(result)[0]:.8f} Ry" in text
    assert entry("C").sha256 in text
    assert "The farm deletes what the next step does not need" in text
    assert max(map(len, text.splitlines())) <= 110
    assert str(tmp_path) not in text
    assert str(pp_x) not in (tmp_path / "again" / "run.sh").read_text()


def test_bands_by_nscf_in_the_compact_cell(tetragonal: Crystal, pw_x: Path, tmp_path: Path) -> None:
    job = make_job(tetragonal, bands="nscf", gmax_max_mry=2000)
    result, inputs = computed(job, tmp_path / "scratch", pw_x)
    assert result.parameters["computed_cell"] != np.eye(3).tolist()
    write_inputs(result, tmp_path / "again")
    assert written(tmp_path / "again") == inputs
    assert "its vectors in those of the structure" in (tmp_path / "again" / "README.txt").read_text()
    assert rerun(tmp_path / "again").returncode == 0
    again = load_response(tmp_path / "again" / "03-response" / "response.npz")
    for step, eps in zip(result.ladder, again.eps, strict=True):
        np.testing.assert_allclose(eps, step.eps, rtol=1e-5, atol=1e-5)


def test_remedies_are_in_the_inputs(diamond: Crystal, pp_x: Path, tmp_path: Path) -> None:
    result, inputs = computed(make_job(diamond, max_scf_iterations=4), tmp_path / "scratch", pp_x)
    assert [c.remedy for c in result.corrections] == ["slower mixing from the last density"]
    write_inputs(result, tmp_path / "again")
    assert written(tmp_path / "again") == inputs
    scf = "scf-30Ry-2x2x2"
    assert b"mixing_beta = 0.4" in inputs[f"{scf}/pw-2.in"]
    assert "slower mixing from the last density (worked)" in (tmp_path / "again" / "README.txt").read_text()
    assert rerun(tmp_path / "again").returncode == 0
    assert (
        "The initial density is read from file" in (tmp_path / "again" / f"01-{scf}/pw-2.out").read_text()
    )
    energy_ry = energies_ry(tmp_path / "again")[f"01-{scf}/pw-2.out"]
    assert [energy_ry] == pytest.approx(recorded_energies_ry(result), abs=1e-8)


def test_a_run_that_began_anew_begins_there(
    diamond: Crystal, pp_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fragile = tmp_path / "bin"
    fragile.mkdir()
    program = fragile / "pw.x"
    program.write_text(
        f"""#!/bin/sh
case "$*" in *pw-1.in*) case "$PWD" in */scf-*) kill -9 $$;; esac;; esac
exec '{shutil.which("pw.x")}' "$@"
"""
    )
    program.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{fragile}{os.pathsep}{path}")
    result, inputs = computed(make_job(diamond), tmp_path / "scratch", pp_x)
    assert [c.diagnosis for c in result.corrections] == ["killed"]
    told = write_inputs(result, tmp_path / "again")
    assert written(tmp_path / "again") == inputs
    (note,) = told["notes"]
    assert note == (
        "01-scf-30Ry-2x2x2: pw-1.in failed in the farm, and pw-2.in began anew: run.sh begins there."
    )
    # Between words of the README there may be a new line.
    assert note in " ".join((tmp_path / "again" / "README.txt").read_text().split())
    assert rerun(tmp_path / "again", path).returncode == 0
    energies = energies_ry(tmp_path / "again")
    assert list(energies) == ["01-scf-30Ry-2x2x2/pw-2.out"]
    assert list(energies.values()) == pytest.approx(recorded_energies_ry(result), abs=1e-8)


def test_a_failed_job_fails_again(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    result, inputs = computed(make_job(diamond, max_scf_iterations=1), tmp_path / "scratch", pw_x)
    assert result.outcome is Outcome.FAILED
    told = write_inputs(result, tmp_path / "again")
    assert told["steps"] == ["01-scf-30Ry-2x2x2"]
    assert written(tmp_path / "again") == inputs
    assert len(inputs) == 5
    ran = rerun(tmp_path / "again")
    assert ran.returncode == 0
    assert not energies_ry(tmp_path / "again")
    last = (tmp_path / "again" / "01-scf-30Ry-2x2x2" / "pw-5.out").read_text()
    assert "convergence NOT achieved" in last
    assert "is expected to fail here" in (tmp_path / "again" / "README.txt").read_text()
    # Also where costs have not come along, as in an exchanged file.
    write_inputs(replace(result, steps=()), tmp_path / "exchanged")
    ours, theirs = ((tmp_path / name / "run.sh").read_text() for name in ("again", "exchanged"))
    assert ours == theirs


def test_a_metal_and_a_job_that_fell_back_on_nscf(
    diamond: Crystal, pp_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "pp.x").write_text("#!/bin/sh\necho 'no potential today'\nexit 1\n")
    (broken / "pp.x").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}{os.pathsep}{os.environ['PATH']}")
    result, inputs = computed(make_job(diamond, metal_gap_ev=50.0), tmp_path / "scratch", pp_x)
    assert result.outcome is Outcome.METAL
    told = write_inputs(result, tmp_path / "again")
    assert [re.sub(r"bands-\d+", "bands-N", name) for name in told["steps"]] == [
        "01-scf-30Ry-2x2x2",
        "02-potential",
        "03-bands-N",
    ]
    assert written(tmp_path / "again") == inputs
    # pp.x fails as it did, and what follows runs.
    assert rerun(tmp_path / "again").returncode == 0
    assert "JOB DONE" in (tmp_path / "again" / told["steps"][-1] / "pw-1.out").read_text()


def test_where_nothing_ran_there_is_nothing_to_run(tmp_path: Path) -> None:
    aluminium = Crystal(
        material_id="Al",
        lattice_angstrom=((0.0, 2.0, 2.0), (2.0, 0.0, 2.0), (2.0, 2.0, 0.0)),
        species=("Al",),
        frac_coords=((0.0, 0.0, 0.0),),
    )
    result = compute(make_job(aluminium), scratch=tmp_path, pseudo_dir=tmp_path)
    told = write_inputs(result, tmp_path / "again")
    assert told["steps"] == []
    assert not (tmp_path / "again" / "run.sh").exists()
    text = (tmp_path / "again" / "README.txt").read_text()
    assert "an odd number of electrons" in text
    assert "odd electron count 11" in text


@pytest.mark.parametrize(
    "changes",
    [
        {"max_scf_iterations": 4},
        {"bands": "nscf", "gmax_max_mry": 0},
        {"energy_tolerance_kcal_mol": 1000.0, "metal_gap_ev": 50.0},
        {"energy_tolerance_kcal_mol": 1.0, "ground_state_kppa": 700, "ecutwfc_max_ry": 80},
    ],
    ids=["remedy", "nscf", "ladder", "ladder-with-probes"],
)
def test_a_result_of_an_earlier_version_says_what_it_does_not_record(
    diamond: Crystal, pp_x: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    result, inputs = computed(make_job(diamond, **changes), tmp_path / "scratch", pp_x)
    told = write_inputs(without(result, "runs", "ranks"), tmp_path / "again")
    # This version ran it, so that what it concludes is what ran.
    assert written(tmp_path / "again") == inputs
    told_text = " ".join(told["notes"])
    assert "kept the names of the steps, not their inputs" in told_text
    assert "How many MPI ranks the programs had is not recorded" in told_text
    assert ("Which density each" in told_text) == ("energy_tolerance_kcal_mol" in changes)
    assert "recorded: " not in (tmp_path / "again" / "run.sh").read_text()


def test_a_result_that_tells_no_steps_has_its_last_ground_state(
    diamond: Crystal, pp_x: Path, tmp_path: Path
) -> None:
    job = make_job(diamond, energy_tolerance_kcal_mol=1000.0)
    result, inputs = computed(job, tmp_path / "scratch", pp_x)
    told = write_inputs(replace(without(result, "runs", "ranks"), steps=()), tmp_path / "again")
    assert told["steps"] == ["01-scf-30Ry-2x2x2", "02-potential", "03-spectra"]
    assert told["by_farm"] is True
    assert told["notes"][0].startswith("Only the ground state that the result rests on is recorded")
    assert "cell of the lattice" not in " ".join(told["notes"])
    oldest = replace(without(result, "runs", "ranks", "computed_cell"), steps=())
    assert "Which cell of the lattice" in " ".join(write_inputs(oldest, tmp_path / "oldest")["notes"])
    again = written(tmp_path / "again")
    assert again == {name: inputs[name] for name in again}


def _imported(crystal: Crystal, **changes: Any) -> Result:
    """As it comes from the published files: no steps, no programs, and what the file says."""
    job = make_job(crystal, bands="nscf", **changes)
    return Result(
        crystal=crystal,
        protocol=job.protocol,
        protocol_hash=job.protocol_hash,
        engine=Engine.YAMBO,
        outcome=Outcome.DONE,
        gmax_converged_mry=(4000, 4000, 4000),
        parameters={"rpa_kppa": 1458, "rpa_G": [4000, 0, 0], "rpa_broad": 0.3},
    )


def test_imported_spectra_get_what_the_protocol_prescribes(
    diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    assert pw_x
    told = write_inputs(_imported(diamond, energy_tolerance_kcal_mol=1.0), tmp_path / "again")
    assert told["by_farm"] is False
    assert told["steps"][0] == "01-scf-30Ry-2x2x2"
    assert {name for name in told["files"] if name.startswith("03-")} == {
        "03-response/x-2000-1/yambo.in",
        "03-response/x-4000-1/yambo.in",
    }
    text = " ".join((tmp_path / "again" / "README.txt").read_text().split())
    assert "were not run by this farm" in text
    assert "rpa_kppa 1458, rpa_G [4000, 0, 0], rpa_broad 0.3" in text
    assert "here is the first rung, 30 Ry and 2x2x2" in text
    assert "a grid of 2x2x2, 16 in all, where the imported spectra say 1458" in text
    script = (tmp_path / "again" / "run.sh").read_text()
    assert "-J run,../x-2000-1/run" in script


def test_published_protocol_without_local_fields(diamond: Crystal, tmp_path: Path) -> None:
    protocol = PRESETS["paper"].model_copy(update={"bands": "nscf"}).ipa_only()
    result = replace(
        _imported(diamond),
        protocol=protocol.to_dict(),
        protocol_hash=protocol.hash,
        gmax_converged_mry=(None, None, None),
    )
    told = write_inputs(result, tmp_path / "again")
    assert told["steps"][0] == "01-scf-60Ry-9x9x9"
    assert "03-response/x-0-1/yambo.in" in told["files"]


def test_what_is_there_is_not_overwritten(diamond: Crystal, tmp_path: Path) -> None:
    result = _imported(diamond)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty: nothing was written") as raised:
        write_inputs(result, tmp_path)
    assert "new or empty" in raised.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="is a file"):
        write_inputs(result, tmp_path / "mine.txt")
    (tmp_path / "empty").mkdir()
    write_inputs(result, tmp_path / "empty")
    assert (tmp_path / "empty" / "run.sh").is_file()


def test_pseudopotentials_that_are_not_here_are_told_and_asked_for(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pw_x
    (tmp_path / "pseudo").mkdir()
    monkeypatch.setenv("FARM_PSEUDO_DIR", str(tmp_path / "pseudo"))
    result = _imported(diamond, gmax_max_mry=4000)
    told = write_inputs(replace(result, engine=Engine.NATIVE), tmp_path / "again")
    assert told["missing_pseudopotentials"] == [entry("C").file]
    assert "Not on the machine that wrote this" in (tmp_path / "again" / "README.txt").read_text()
    ran = rerun(tmp_path / "again")
    assert ran.returncode != 0
    assert entry("C").file in ran.stderr
    assert not (tmp_path / "again" / "01-scf-30Ry-2x2x2" / "pw-1.out").exists()


def _recorded(crystal: Crystal, runs: list[dict[str, Any]]) -> Result:
    return replace(_imported(crystal), engine=Engine.NATIVE, parameters={"runs": runs})


STEP = {"kind": "ScfStep", "ecutwfc_ry": 30, "kgrid": [2, 2, 2], "is_loose": False, "start": ""}
INPUT = {"file": "pw-1.in", "sha256": "0" * 64, "values": {"kgrid": [2, 2, 2]}}


def test_a_file_that_is_not_the_one_that_ran_is_told(diamond: Crystal, tmp_path: Path) -> None:
    result = _recorded(diamond, [{"step": STEP, "inputs": [INPUT]}])
    told = write_inputs(result, tmp_path / "again")
    assert told["notes"][0].startswith("01-scf-30Ry-2x2x2/pw-1.in is not the file that the farm ran")


def test_several_ranks_are_run_with_as_many(diamond: Crystal, tmp_path: Path) -> None:
    result = _recorded(diamond, [{"step": STEP, "inputs": [INPUT]}])
    write_inputs(replace(result, parameters=dict(result.parameters) | {"ranks": 3}), tmp_path / "again")
    script = (tmp_path / "again" / "run.sh").read_text()
    assert "  mpirun -np 3 pw.x -inp pw-1.in > pw-1.out" in script
    assert "for program in pw.x mpirun; do" in script


def test_a_protocol_of_another_version_is_told(diamond: Crystal, tmp_path: Path) -> None:
    result = _imported(diamond)
    lacking = {name: value for name, value in result.protocol.items() if name != "metal_gap_ev"}
    told = write_inputs(result, tmp_path / "whole")
    assert not [note for note in told["notes"] if note.startswith("The protocol of the result")]
    told = write_inputs(replace(result, protocol=lacking, protocol_hash="0" * 64), tmp_path / "lacking")
    assert told["notes"][0].startswith("The protocol of the result has not all the fields")


@pytest.mark.parametrize(
    ("step", "used", "words"),
    [
        ({"kgrid": ["../../x", 2, 2]}, {}, "no step of a job"),
        ({"start": "$(reboot)"}, {}, "no step of a job"),
        ({"start": "scf-20Ry-2x2x2"}, {}, "builds on scf-20Ry-2x2x2, which is not there"),
        ({"kind": "Surprise"}, {}, "unknown step"),
        ({}, {"file": "../../etc/passwd"}, "no input of a program"),
        ({}, {"dipoles": "; reboot"}, "no input of a program"),
        ({}, {"values": {"tefield": True}}, "recorded by another version of the farm: tefield"),
        ({}, {"values": {"lattice_angstrom": []}}, "recorded by another version"),
        ({}, {"surprise": 1}, "not the record of an input"),
    ],
)
def test_records_that_no_farm_has_made_are_refused(
    diamond: Crystal, tmp_path: Path, step: dict[str, Any], used: dict[str, Any], words: str
) -> None:
    result = _recorded(diamond, [{"step": STEP | step, "inputs": [INPUT | used]}])
    with pytest.raises(InputError, match=words):
        write_inputs(result, tmp_path / "again")
    assert not (tmp_path / "again").exists()
