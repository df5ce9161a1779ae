"""``farm compare``: the table, the document, the figure, and one line where there is nothing to compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farm.comparison import OtherEngine
from farm.errors import LeaseLostError, MissingProgramError
from farm.job import Engine, Job, Outcome, Stage
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]
Answer = Callable[[Result, Path], OtherEngine]

PARAMETERS = {
    "ecutwfc_ry": 40.0,
    "ground_state_kgrid": [4, 4, 4],
    "response_kgrid": [6, 6, 6],
    "nbnd": 12,
    "bands": "nscf",
}


@pytest.fixture
def stored(settings: Settings, make_job: MakeJob, make_result: MakeResult) -> Result:
    """A store with one result of our solver."""
    result = replace(make_result(make_job("periclase")), parameters=PARAMETERS)
    with StoreWriter(settings.store_path) as writer:
        writer.append(result)
    return result


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Puts a function in place of the part that computes."""

    def install(answer: Answer) -> None:
        def compute(stored: Result, scratch: Path, *, on_progress: Any, **_: Any) -> OtherEngine:
            on_progress(Stage.BANDS, "bands-12")
            return answer(stored, scratch)

        point = SimpleNamespace(load=lambda: compute)
        monkeypatch.setattr("farm.cli.compare.entry_points", lambda **_: [point])

    monkeypatch.setattr("farm.cli.compare.stop_on_signals", lambda: None)
    return install


def _by_yambo(stored: Result) -> Result:
    ladder = tuple(replace(step, eps=1 + (step.eps - 1) * 1.25) for step in stored.ladder)
    return replace(stored, engine=Engine.YAMBO, ladder=ladder)


def _merged(stored: Result, scratch: Path) -> OtherEngine:  # noqa: ARG001 - as it is called
    yambo = _by_yambo(stored)
    return OtherEngine(
        result=yambo, sampled=(8322, 9504), same_points=yambo.ladder, same_points_cpu_s=1.5, note="odd"
    )


@pytest.mark.usefixtures("stored")
def test_the_table_tells_similarity_and_costs(
    run: Run, answered: Callable[[Answer], None], settings: Settings
) -> None:
    answered(_merged)
    code, out, err = run("compare", "MgO")
    assert code == 0
    assert err == "computing periclase: bands-12\n"
    assert "native (stored) and yambo on one ground state, 40 Ry, k-points 6x6x6" in " ".join(out.split())
    assert "0.80000  0.80000  0.80000" in out
    assert "worst 1 - SC 2.0e-01" in out
    assert "YAMBO samples 8322 of 9504 k-points" in out
    assert "1.00000  1.00000  1.00000" in out
    assert "note odd" in out
    assert list(settings.scratch_dir.iterdir()) == []


@pytest.mark.usefixtures("stored")
def test_the_document_is_complete(run: Run, answered: Callable[[Answer], None], tmp_path: Path) -> None:
    answered(_merged)
    code, out, _ = run("compare", "periclase", "--json", "--plot", str(tmp_path / "both.svg"))
    document = json.loads(out)
    assert code == 0
    assert (document["stored"], document["computed"]) == ("native", "yambo")
    assert [rung["gmax_mry"] for rung in document["ladder"]] == [0, 2000]
    assert document["ladder"][1]["n_g"] == {"native": 15, "yambo": 15}
    assert document["worst"] == pytest.approx(0.2)
    assert document["same_points"]["worst"] == pytest.approx(0, abs=1e-9)
    assert document["sampled_points"] == {"yambo": 8322, "all": 9504}
    assert set(document["runs"]) == {"native", "yambo"}
    assert (tmp_path / "both.svg").stat().st_size > 1000


@pytest.mark.usefixtures("stored")
def test_fine_grids_need_no_second_table(run: Run, answered: Callable[[Answer], None]) -> None:
    answered(lambda stored, _: OtherEngine(result=_by_yambo(stored), sampled=(23040, 23040)))
    _, out, _ = run("compare", "MgO")
    assert "samples" not in out
    assert out.count("worst") == 1


@pytest.mark.usefixtures("stored")
def test_a_failing_job_gives_its_reason_and_leaves_its_texts(
    run: Run, answered: Callable[[Answer], None], settings: Settings
) -> None:
    def fails(stored: Result, scratch: Path) -> OtherEngine:
        failed = replace(stored, engine=Engine.YAMBO, outcome=Outcome.FAILED, reason="no memory", ladder=())
        texts = scratch / "failed" / failed.job_id / "response"
        texts.mkdir(parents=True)
        (texts / "r_setup").write_text("a report")
        return OtherEngine(result=failed, sampled=(0, 0))

    answered(fails)
    code, out, err = run("compare", "MgO")
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("farm: periclase with yambo: failed, no memory. `farm diagnose ")
    kept = Path(last.split("`")[1].split()[-1])
    assert (kept / "response" / "r_setup").read_text() == "a report"
    assert [path.name for path in settings.scratch_dir.iterdir()] == ["failed"]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (LeaseLostError("stopped"), 130, "Interrupted."),
        (MissingProgramError("yambo is absent", fix="conda"), 1, "farm: yambo is absent. conda"),
    ],
)
def test_what_stops_it_is_one_line(
    run: Run, answered: Callable[[Answer], None], error: Exception, code: int, words: str
) -> None:
    def raises(_stored: Result, _scratch: Path) -> OtherEngine:
        raise error

    answered(raises)
    ended, out, err = run("compare", "MgO")
    assert (ended, out) == (code, "")
    assert err.splitlines()[-1] == words


def test_what_cannot_be_compared_is_one_line(
    run: Run, settings: Settings, make_job: MakeJob, make_result: MakeResult, tmp_path: Path
) -> None:
    _, _, err = run("compare", "MgO")
    assert err == "farm: no result of MgO in the store. `farm jobs` lists what is finished\n"
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("periclase"), Outcome.METAL, "its gap is 0.01 eV"))
    code, _, err = run("compare", "MgO")
    assert code == 2
    assert err == "farm: periclase has no spectra to compare: metal, its gap is 0.01 eV\n"
    _, _, err = run("compare", "MgO", "--plot", str(tmp_path / "both.docx"))
    assert err.startswith(f"farm: {tmp_path / 'both.docx'}: no figure can be written there")
