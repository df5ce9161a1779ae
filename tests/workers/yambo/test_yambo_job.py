"""A whole job with the engine yambo: ground state, bands, response, result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.crystal import Crystal
from farm.errors import MissingProgramError, ProtocolError
from farm.job import Engine, Job, Outcome, Stage
from farm.protocol import PRESETS
from farm.result import Result
from farm.spectrum import similarity_coefficient
from workers.compute import compute
from workers.scratch import failed_directory

CRUDE = {
    "ecutwfc_ry": 30,
    "ground_state_kppa": 16,
    "response_kppa": 16,
    "n_energies": 2001,
    "gmax_max_mry": 4000,
    "bands": "nscf",
}


def _job(crystal: Crystal, engine: Engine = Engine.YAMBO, **changes: Any) -> Job:
    protocol = PRESETS["demo"].model_copy(update=CRUDE | changes)
    return Job(crystal=crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash, engine=engine)


@pytest.mark.parametrize("name", ["diamond", "layered"])
def test_job_is_the_native_one_but_for_its_engine(
    request: pytest.FixtureRequest, engine: Callable[[str], str], pw_x: Path, tmp_path: Path, name: str
) -> None:
    crystal = request.getfixturevalue(name)
    which = engine({"diamond": "C", "layered": "BN"}[name])
    result = compute(_job(crystal), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.engine is Engine.YAMBO
    assert result.outcome in (Outcome.DONE, Outcome.UNCONVERGED)
    assert result.rpa is not None
    assert result.ipa is not None
    assert [step.gmax_mry for step in result.ladder] == [0, 2000, 4000]
    assert [step.name for step in result.steps][-1] == "response"
    assert [usage.stage for usage in result.stages] == list(Stage)
    assert set(result.programs) == {"farm", "pw.x", "yambo"}
    assert result.parameters["bands"] == "nscf"
    # One image of each point for the operations that yambo does not know.
    cosets = {"diamond": 1, "layered": 2}[name]
    assert result.parameters["n_kpoints"] == cosets * result.parameters["n_kpoints_full"]
    assert list((tmp_path / "scratch").iterdir()) == []
    assert Result.unpack(result.pack()).engine is Engine.YAMBO
    if which == "real":
        native = compute(_job(crystal, Engine.NATIVE), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
        assert native.ipa is not None
        # yambo loses members of stars on so coarse a grid.
        for ours, theirs in zip(native.ipa.eps.imag, result.ipa.eps.imag, strict=True):
            assert 1 - similarity_coefficient(theirs, ours, result.energies_ev) < 0.15
        assert [step.n_g for step in result.ladder] == [step.n_g for step in native.ladder]
        np.testing.assert_allclose(result.gap_direct_ev or 0, native.gap_direct_ev or 1, atol=1e-3)


def test_job_without_local_fields_brings_ipa_alone(
    engine: Callable[[str], str], diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    engine("C")
    result = compute(_job(diamond, gmax_max_mry=0), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert (result.outcome, result.reason) == (Outcome.DONE, "")
    assert result.ipa is not None
    assert result.rpa is None
    assert [step.gmax_mry for step in result.ladder] == [0]
    assert [usage.stage for usage in result.stages] == list(Stage)


def test_failed_job_keeps_reports_and_diagnosis(
    stand_in: Callable[..., None], diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    stand_in(failure="no_commutator")
    job = _job(diamond)
    result = compute(job, scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.outcome is Outcome.FAILED
    assert result.diagnosis == "incomplete_output"
    assert "[r,Vnl]" in result.reason
    assert [c.remedy for c in result.corrections][-1] == "SAVE made anew"
    assert result.ladder == ()
    kept = {path.name for path in failed_directory(tmp_path / "scratch", job.job_id).rglob("*")}
    assert {"yambo.in", "r-run_optics_chi", "r_setup", "l_p2y", "x-2000-1.err"} <= kept


def test_metal_is_an_outcome(
    stand_in: Callable[..., None], diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    stand_in(failure="metal")
    result = compute(_job(diamond), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert (result.outcome, result.diagnosis) == (Outcome.METAL, "metal")


def test_machine_without_yambo_gives_the_job_back(
    diamond: Crystal, pw_x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preflight.shutil.which", lambda _: None)
    with pytest.raises(MissingProgramError, match="the yambo engine needs mpirun"):
        compute(_job(diamond), scratch=tmp_path / "scratch", pseudo_dir=pw_x)


def test_protocol_without_a_dense_nscf_run_is_refused(
    stand_in: Callable[..., None], diamond: Crystal, pw_x: Path, tmp_path: Path
) -> None:
    stand_in()
    with pytest.raises(ProtocolError, match="takes the bands of a dense nscf run"):
        compute(_job(diamond, bands="reduced-basis"), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
