"""``farm diagnose``: the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Job, Outcome
from farm.protocol import PRESETS
from workers.cli.diagnose import diagnose
from workers.compute import compute
from workers.diagnose.tree import read_tree
from workers.scratch import failed_directory


def test_json_has_what_it_promises(failures: Path) -> None:
    result = CliRunner().invoke(diagnose, [str(failures / "nscf_some_not_converged"), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["program"] == "pw.x"
    assert document["outcome"] == "unconverged"
    assert document["diagnosis"] == "bands_unconverged"
    assert document["evidence"] == {
        "file": "nscf.out",
        "line": 112,
        "text": "c_bands: 4 eigenvalues not converged",
    }
    assert document["remedies"] == [
        "parallel-orbital diagonalisation",
        "conjugate-gradient diagonalisation",
    ]
    assert [run["run"] for run in document["runs"]] == ["nscf.out"]


def test_good_run_says_so(failures: Path) -> None:
    result = CliRunner().invoke(diagnose, [str(failures / "p2y_ok")])
    assert "ok: p2y ended well" in result.output
    document = json.loads(CliRunner().invoke(diagnose, [str(failures / "p2y_ok"), "--json"]).stdout)
    assert (document["outcome"], document["diagnosis"], document["evidence"]) == ("ok", None, None)
    assert document["remedies"] == []


def test_text_names_file_line_and_remedy(failures: Path) -> None:
    result = CliRunner().invoke(diagnose, [str(failures / "yambo_input_typo")])
    assert "failed: yambo, keyword_misspelt" in result.output
    assert "b.in:38" in result.output
    assert "write NGsBlkXd" in result.output


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_nothing_to_read_is_one_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(diagnose, [str(tmp_path / name)])
    assert isinstance(result.exception, InputError)
    assert name in str(result.exception)


def test_what_is_kept_of_a_failed_job_is_understood(diamond: Crystal, pw_x: Path, tmp_path: Path) -> None:
    protocol = PRESETS["demo"].model_copy(update={"ground_state_kppa": 16, "max_scf_iterations": 1})
    job = Job(crystal=diamond, protocol=protocol.to_dict(), protocol_hash=protocol.hash)
    assert compute(job, scratch=tmp_path, pseudo_dir=pw_x).outcome is Outcome.FAILED
    kept = failed_directory(tmp_path, job.job_id)
    document = json.loads(CliRunner().invoke(diagnose, [str(kept), "--json"]).stdout)
    assert (document["outcome"], document["diagnosis"]) == ("unconverged", "scf_unconverged")
    assert document["run"].endswith("pw-5.out")
    # The density itself is not kept; its size is.
    assert any(path.endswith("charge-density.dat") for path in read_tree(kept).sizes)
    assert not list(kept.rglob("charge-density*"))
