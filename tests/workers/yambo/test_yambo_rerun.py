"""Inputs of jobs with the engine yambo written again: those that ran, on the points that ran."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rerun_jobs import computed, energies_ry, recorded_energies_ry, rerun, without, written

from farm.crystal import Crystal
from farm.job import Engine, Job, Outcome
from farm.protocol import PRESETS
from farm.result import Result
from workers.rerun.write import write_inputs
from workers.sessions import Attempt
from workers.used_inputs import UsedInput, used_yambo_inputs, yambo_input_again
from workers.yambo.inputs import YamboInput
from workers.yambo.layout import Layout
from workers.yambo.outputs import SPECTRUM_SUFFIX, parse_response
from workers.yambo.remedies import ResponseRun

CRUDE = {
    "ecutwfc_ry": 30,
    "ground_state_kppa": 16,
    "response_kppa": 16,
    "n_energies": 2001,
    "gmax_max_mry": 4000,
    "bands": "nscf",
}


def _job(crystal: Crystal, **changes: Any) -> Job:
    protocol = PRESETS["demo"].model_copy(update=CRUDE | changes)
    return Job(
        crystal=crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash, engine=Engine.YAMBO
    )


@pytest.mark.parametrize(("name", "axes"), [("diamond", "x"), ("layered", "xz")])
def test_every_gmax_and_direction_is_run_again(
    request: pytest.FixtureRequest,
    engine: Callable[[str], str],
    pw_x: Path,
    tmp_path: Path,
    name: str,
    axes: str,
) -> None:
    crystal = request.getfixturevalue(name)
    engine({"diamond": "C", "layered": "BN"}[name])
    result, inputs = computed(_job(crystal), tmp_path / "scratch", pw_x)
    told = write_inputs(result, tmp_path / "again")
    assert told["notes"] == []
    assert written(tmp_path / "again") == inputs
    for axis in axes:
        assert f"response/{axis}-2000-1/yambo.in" in inputs
    ran = rerun(tmp_path / "again")
    assert (ran.returncode, ran.stderr) == (0, "")
    energies = list(energies_ry(tmp_path / "again").values())
    assert energies == pytest.approx(recorded_energies_ry(result), abs=1e-8)
    response = tmp_path / "again" / "03-response"
    assert "nosym>false" in (response / "pw.save" / "data-file-schema.xml").read_text()
    for axis in axes:
        directory = response / f"{axis}-{result.ladder[-1].gmax_mry}-1"
        texts = [(directory / name).read_text() for name in ("r-run_optics_chi", f"o-run{SPECTRUM_SUFFIX}")]
        eps = result.ladder[-1].eps["xyz".index(axis)]
        np.testing.assert_allclose(parse_response(*texts).eps, eps, rtol=1e-5, atol=1e-5)
    # Once more: yambo would keep what it finds.
    assert rerun(tmp_path / "again").returncode == 0
    assert not list(response.rglob("*_01"))


@pytest.mark.parametrize("name", ["diamond", "layered"])
def test_points_and_rungs_of_an_earlier_version_are_concluded(
    request: pytest.FixtureRequest, stand_in: Callable[..., None], pw_x: Path, tmp_path: Path, name: str
) -> None:
    crystal = request.getfixturevalue(name)
    stand_in({"diamond": "C", "layered": "BN"}[name])
    result, inputs = computed(_job(crystal), tmp_path / "scratch", pw_x)
    older = without(result, "runs", "ranks", "symmorphic_rotations")
    told = write_inputs(older, tmp_path / "again")
    assert written(tmp_path / "again") == inputs
    text = " ".join(told["notes"])
    assert "Which symmetry operations pw.x found" in text
    assert "How the work of yambo was shared by ranks" in text
    assert "k-points in the farm" not in text
    # Its number of k-points is recorded: a list of another length is told.
    other = replace(older, parameters=dict(older.parameters) | {"n_kpoints": 3})
    assert "had 3 k-points in the farm" in " ".join(write_inputs(other, tmp_path / "other")["notes"])


def test_what_was_tried_before_is_written_and_not_run(
    stand_in: Callable[..., None], diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    stand_in(failure="truncated*1")
    result, inputs = computed(_job(diamond), tmp_path / "scratch", pw_x)
    assert [c.remedy for c in result.corrections] == ["fresh databases"]
    told = write_inputs(result, tmp_path / "again")
    assert written(tmp_path / "again") == inputs
    assert {"response/x-2000-1/yambo.in", "response/x-2000-2/yambo.in"} <= inputs.keys()
    (note,) = told["notes"]
    assert note.startswith("03-response: x-2000-1/yambo.in failed in the farm")
    stand_in()
    assert rerun(tmp_path / "again").returncode == 0
    response = tmp_path / "again" / "03-response"
    assert [path.name for path in (response / "x-2000-1").iterdir()] == ["yambo.in"]
    assert (response / "x-2000-2" / f"o-run{SPECTRUM_SUFFIX}").is_file()
    # The dipoles of the attempt that was good.
    assert "-J run,../x-2000-2/run" in (tmp_path / "again" / "run.sh").read_text()


@pytest.mark.parametrize("failure", ["no_commutator", "metal", "p2y_mute"])
def test_failures_and_metals_are_run_again_as_far_as_they_came(
    stand_in: Callable[..., None], diamond: Crystal, pw_x: Path, tmp_path: Path, failure: str
) -> None:
    stand_in(failure=failure)
    result, inputs = computed(_job(diamond), tmp_path / "scratch", pw_x)
    assert result.outcome is (Outcome.METAL if failure == "metal" else Outcome.FAILED)
    told = write_inputs(result, tmp_path / "again")
    assert told["steps"][-1] == "03-response"
    assert written(tmp_path / "again") == inputs
    ran = rerun(tmp_path / "again")
    assert ran.returncode == 0
    assert ran.stdout.endswith("done\n")


def test_ranks_threads_and_dipoles_are_kept() -> None:
    layout = Layout(ranks=4, threads=2, k=2, c=2, v=1)
    asked = YamboInput(gmax_mry=4000, direction=(0.0, 0.0, 1.0), nbnd=12, layout=layout)
    run = ResponseRun(asked=asked, dipoles="../x-2000-1/run")
    (used,) = used_yambo_inputs("z-4000", [Attempt(asked=run, clean=True)])
    again = UsedInput.from_dict(used.to_dict())
    assert again == used
    assert (again.file, again.dipoles) == ("z-4000-1/yambo.in", "../x-2000-1/run")
    assert yambo_input_again(again.values) == asked


def test_a_job_of_several_ranks_is_run_with_as_many(diamond: Crystal, tmp_path: Path) -> None:
    layout = Layout(ranks=2, threads=3, k=2, c=1, v=1)
    asked = YamboInput(gmax_mry=2000, direction=(1.0, 0.0, 0.0), nbnd=8, layout=layout)
    used = used_yambo_inputs("x-2000", [Attempt(asked=ResponseRun(asked=asked), clean=True)])
    scf = {"kind": "ScfStep", "ecutwfc_ry": 30, "kgrid": [2, 2, 2], "is_loose": False, "start": ""}
    bands = {"ground_state": scf, "nbnd": 8}
    steps = [scf, {"kind": "BandsStep", **bands}, {"kind": "ResponseStep", "bands": bands, "n_bands": None}]
    inputs: list[list[UsedInput]] = [[], [], [*used]]
    job = _job(diamond)
    result = Result(
        crystal=diamond,
        protocol=job.protocol,
        protocol_hash=job.protocol_hash,
        engine=Engine.YAMBO,
        outcome=Outcome.DONE,
        parameters={
            "ranks": 2,
            "runs": [
                {"step": step, "inputs": [one.to_dict() for one in ones]}
                for step, ones in zip(steps, inputs, strict=True)
            ],
        },
    )
    write_inputs(result, tmp_path / "again")
    script = (tmp_path / "again" / "run.sh").read_text()
    assert "OMP_NUM_THREADS=3 mpirun -np 2 yambo -I .. -F yambo.in -J run " in script
    # No input of pw.x is recorded here: there is nothing to run.
    assert "pw.x -inp" not in script
