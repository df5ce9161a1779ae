"""The stand-in is as strict and as silent as the programs it stands in for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.yambo.inputs import YamboInput
from workers.yambo.outputs import mismatch, parse_response, parse_setup

ASKED = YamboInput(gmax_mry=2000, direction=(1.0, 0.0, 0.0), nbnd=10)
SAVED = {"nk": 512, "nbnd": 10, "nel": 8.0, "nsym": 24, "trev": True, "vnl": True}


@pytest.fixture
def yambo(stand_in: Callable[..., None], tmp_path: Path) -> Callable[..., int]:
    """Runs it in an empty directory with or without SAVE; returns its exit code."""
    stand_in()

    def run(*arguments: str, save: bool = True, set_up: bool = True, text: str = ASKED.text()) -> int:
        if save:
            (tmp_path / "SAVE").mkdir(exist_ok=True)
            (tmp_path / "SAVE" / "ns.db1").write_text(json.dumps(SAVED))
        if set_up:
            (tmp_path / "SAVE" / "ndb.gops").write_text("")
        (tmp_path / "yambo.in").write_text(text)
        program = tmp_path / "programs" / "yambo"
        return subprocess.run(
            [program, *arguments], cwd=tmp_path, capture_output=True, check=False
        ).returncode

    return run


def test_good_run(yambo: Callable[..., int], tmp_path: Path) -> None:
    assert yambo("-F", "yambo.in", "-J", "run") == 0
    output = parse_response(
        (tmp_path / "r-run_optics_chi").read_text(), (tmp_path / "o-run.eps_q1_inv_rpa_dyson").read_text()
    )
    assert mismatch(output, ASKED) is None


def test_set_up_again_does_not_overwrite(yambo: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for _ in range(2):
        assert yambo("-F", "absent.in") == 0
    assert {path.name for path in tmp_path.glob("r_setup*")} == {"r_setup", "r_setup_01"}
    assert parse_setup((tmp_path / "r_setup_01").read_text()).size.n_kpoints == 512


@pytest.mark.parametrize("text", ["hello\n", ASKED.text().replace("chi\n", "", 1)])
def test_input_without_runlevels_runs_the_set_up(
    yambo: Callable[..., int], tmp_path: Path, text: str
) -> None:
    assert yambo("-F", "yambo.in", "-J", "run", text=text) == 0
    assert (tmp_path / "r-run_setup").is_file()
    assert not list(tmp_path.glob("o-*"))


def test_without_set_up_it_says_nothing(yambo: Callable[..., int], tmp_path: Path) -> None:
    assert yambo("-F", "yambo.in", "-J", "run", set_up=False) == 0
    assert not list(tmp_path.glob("?-run*"))


def test_without_save_it_fails(yambo: Callable[..., int]) -> None:
    assert yambo(save=False, set_up=False) == 1


def test_unknown_keyword_is_passed_over(yambo: Callable[..., int], tmp_path: Path) -> None:
    assert yambo("-F", "yambo.in", "-J", "run", text=ASKED.text().replace("NGsBlkXd", "NGsBlkXX")) == 0
    output = parse_response(
        (tmp_path / "r-run_optics_chi").read_text(), (tmp_path / "o-run.eps_q1_inv_rpa_dyson").read_text()
    )
    assert mismatch(output, ASKED) == "a block of 1 G vectors, of unknown size, asked for 2000 mRy"


def test_missing_job_name_changes_the_names(yambo: Callable[..., int], tmp_path: Path) -> None:
    assert yambo("-F", "yambo.in") == 0
    assert (tmp_path / "r_optics_chi").is_file()
    assert not (tmp_path / "r-run_optics_chi").exists()
