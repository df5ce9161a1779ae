"""A result without local fields, wherever results are read: IPA, and nothing that passes for RPA."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from farm.backlog import Backlog
from farm.cli.summary import materials_table, page_of_spectra
from farm.comparison import OtherEngine
from farm.errors import ResultRefusedError
from farm.job import Engine, Job, JobState, Outcome
from farm.protocol import PRESETS
from farm.result import LadderStep, Result
from farm.settings import Settings
from farm.store import StoreCounts, StoreWriter, open_store
from farm.writer import report_counts, store_waiting

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]

IPA_ONLY = PRESETS["demo"].ipa_only()
PARAMETERS = {"ecutwfc_ry": 40.0, "ground_state_kgrid": [4, 4, 4], "response_kgrid": [6, 6, 6], "nbnd": 12}


@pytest.fixture
def job(make_job: MakeJob) -> Job:
    """A job without local fields."""
    return replace(make_job("periclase"), protocol=IPA_ONLY.to_dict(), protocol_hash=IPA_ONLY.hash)


@pytest.fixture
def ipa_alone(job: Job, make_result: MakeResult) -> Result:
    """Its result."""
    result = make_result(job)
    return replace(
        result, ladder=result.ladder[:1], gmax_converged_mry=(None, None, None), parameters=PARAMETERS
    )


@pytest.fixture
def stored(settings: Settings, ipa_alone: Result, make_job: MakeJob, make_result: MakeResult) -> Settings:
    """A farm that holds it, and one with both rungs."""
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("whole")))
        writer.append(ipa_alone)
    return settings


def test_the_row_says_ipa_and_no_rpa(stored: Settings) -> None:
    with open_store(stored.store_path) as store:
        whole, alone = store.rows()
        assert store.counts() == StoreCounts(materials=2, ipa=2, rpa=1)
        assert (alone.outcome, alone.has_ipa, alone.has_rpa) == (Outcome.DONE, True, False)
        assert alone.eps_inf_ipa == whole.eps_inf_ipa
        assert (alone.eps_inf_rpa, alone.similarity_rpa_ipa) == (None, None)
        assert alone.gmax_converged_mry == (None, None, None)
        assert alone.protocol_hash == PRESETS["demo"].ipa_only().hash
        read = store.result(alone.index)
        assert read.rpa is None
        assert read.ipa is not None
        assert np.isfinite(read.ipa.eps).all()
        assert store.ipa_spectra([alone.index, whole.index]).shape == (2, 3, 2001)


def test_the_writer_stores_it_and_the_job_is_done(
    backlog: Backlog, settings: Settings, job: Job, ipa_alone: Result
) -> None:
    backlog.enqueue([job])
    [dispatch] = backlog.dispatch(1, 60)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    backlog.deliver(dispatch.job_id, dispatch.token, ipa_alone.pack())
    with StoreWriter(settings.store_path) as writer:
        assert store_waiting(backlog, writer)
        report_counts(backlog, writer)
    view = backlog.job(job.job_id)
    assert view is not None
    assert view.state is JobState.DONE
    # What calls a refit is the number of RPA spectra.
    assert backlog.roster.stored_counts() == {"materials": 1, "ipa": 1, "rpa": 0}


def test_ipa_of_one_protocol_does_not_stand_in_for_the_rpa_of_another(
    stored: Settings, make_job: MakeJob, make_result: MakeResult
) -> None:
    with StoreWriter(stored.store_path) as writer:
        writer.append(make_result(make_job("periclase")))
        assert writer.counts() == StoreCounts(materials=2, ipa=3, rpa=2)


def _ladder(result: Result, *gmax_mry: int) -> Result:
    step = result.ladder[0]
    steps = (replace(step, gmax_mry=gmax, step_similarity=(0.9, 0.9, 0.9)) for gmax in gmax_mry)
    return replace(result, ladder=tuple(steps))


@pytest.mark.parametrize("gmax_mry", [(2000,), (2000, 4000), (0, 0), (0, 4000, 2000)])
def test_a_ladder_that_mistakes_one_rung_for_the_other_is_refused(
    settings: Settings, ipa_alone: Result, gmax_mry: tuple[int, ...]
) -> None:
    with (
        StoreWriter(settings.store_path) as writer,
        pytest.raises(ResultRefusedError, match="does not ascend from 0"),
    ):
        writer.append(_ladder(ipa_alone, *gmax_mry))


def test_show_tells_of_ipa_alone(stored: Settings, run: Run) -> None:
    picture = stored.home / "MgO.png"
    code, out, _ = run("show", "periclase", "--plot", str(picture))
    assert code == 0
    assert "0 (IPA)" in out
    assert "not converged" not in out
    assert "nan" not in out.lower()
    assert picture.read_bytes().startswith(b"\x89PNG")
    document = json.loads(run("show", "periclase", "--json")[1])
    assert document["rungs"] == ["ipa"]
    assert document["state"] == "done"
    assert document["gmax_converged_mry"] == {"x": None, "y": None, "z": None}
    assert [step["gmax_mry"] for step in document["ladder"]] == [0]
    assert json.loads(run("show", "whole", "--json")[1])["rungs"] == ["ipa", "rpa"]


def test_show_tells_of_one_of_the_jobs_of_a_material(
    run: Run, backlog: Backlog, job: Job, make_job: MakeJob
) -> None:
    backlog.enqueue([make_job("periclase", cost=1.0), replace(job, predicted_cpu_s=2.0)])
    assert json.loads(run("show", "periclase", "--json")[1])["job_id"] == make_job("periclase").job_id
    backlog.prioritise([job.job_id])
    [dispatch] = backlog.dispatch(1, 60)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    code, out, _ = run("show", "MgO", "--json")
    assert (code, json.loads(out)["job_id"]) == (0, job.job_id)
    backlog.enqueue([make_job("other")])
    code, _, err = run("show", "MgO")
    assert code == 2
    assert "Choose one of other, periclase" in err


def test_status_report_and_export_tell_of_ipa_alone(stored: Settings, run: Run) -> None:
    assert json.loads(run("status", "--json")[1])["store"] == {"materials": 2, "ipa": 2, "rpa": 1}
    told = json.loads(run("report", "--json")[1])
    assert (told["results"], told["outcomes"]["done"], told["not_done"]) == (2, 2, [])
    archive = stored.home / "all.npz"
    assert run("export", str(archive))[0] == 0
    with np.load(archive) as arrays:
        assert arrays["ipa_entry"].tolist() == [0, 1]
        assert arrays["rpa_entry"].tolist() == [0]
        assert arrays["has_eps_inf_rpa"].tolist() == [True, False]
        assert arrays["has_similarity_rpa_ipa"].tolist() == [True, False]
        assert arrays["ipa_eps_imag"].shape == (2, 3, 2001)
        assert all(
            np.isfinite(arrays[name]).all() for name in arrays.files if arrays[name].dtype.kind == "f"
        )


def test_the_closing_screen_draws_what_there_is(stored: Settings) -> None:
    with open_store(stored.store_path) as store:
        rows = list(store.rows())
        page = stored.home / "page.png"
        assert page_of_spectra(store, rows, page)
        assert page_of_spectra(store, rows[1:], stored.home / "alone.png")
    assert page.read_bytes().startswith(b"\x89PNG")
    table = materials_table(rows)
    cells = {str(column.header): list(column.cells) for column in table.columns}
    at = cells["material"].index("periclase")
    assert cells["ε∞ IPA"][at] != ""
    assert [cells[name][at] for name in ("ε∞ RPA", "SC[RPA;IPA]", "Gmax Ry", "")] == [""] * 4


def _by_yambo(stored: Result, scratch: Path, **_: Any) -> OtherEngine:  # noqa: ARG001 - as it is called
    ladder: tuple[LadderStep, ...] = tuple(
        replace(step, eps=1 + (step.eps - 1) * 1.25) for step in stored.ladder
    )
    return OtherEngine(result=replace(stored, engine=Engine.YAMBO, ladder=ladder), sampled=(10, 10))


@pytest.mark.usefixtures("stored")
def test_compare_compares_ipa_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point = SimpleNamespace(load=lambda: _by_yambo)
    monkeypatch.setattr("farm.cli.compare.entry_points", lambda **_: [point])
    monkeypatch.setattr("farm.cli.compare.stop_on_signals", lambda: None)
    code, out, _ = run("compare", "periclase", "--json", "--plot", str(tmp_path / "both.png"))
    document = json.loads(out)
    assert code == 0
    assert [rung["gmax_mry"] for rung in document["ladder"]] == [0]
    assert document["worst"] == pytest.approx(0.2)
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert "IPA" in run("compare", "periclase")[1]
