"""``farm report`` and ``farm show`` on stores whose content is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import h5py
import pytest

from farm.job import Job, Outcome, Stage
from farm.result import Correction, Result, StageUsage, StepUsage
from farm.settings import Settings
from farm.store import StoreWriter
from farm.store.layout import LIBRARY_BOUNDS, TEXTS

Run = Callable[..., "tuple[int, str, str]"]
Store = Callable[..., None]

STAGES = (
    StageUsage(stage=Stage.GROUND_STATE, cpu_s=30.0, wall_s=40.0, peak_memory_mb=80.0),
    StageUsage(stage=Stage.RESPONSE, cpu_s=10.0, wall_s=10.0, peak_memory_mb=2500.0),
)
SCF = StepUsage(
    name="scf-60Ry-4x4x4",
    stage=Stage.GROUND_STATE,
    outcome="ok",
    attempts=3,
    cpu_s=30.25,
    wall_s=40.5,
    peak_memory_mb=80.0,
    disk_mb=12.5,
)
SPECTRA = replace(SCF, name="spectra", stage=Stage.RESPONSE, outcome="failed", attempts=1, disk_mb=0.25)
SLOWER = Correction(
    step=SCF.name,
    diagnosis="scf_unconverged",
    evidence="pw-1.out:120: convergence NOT achieved [100 iterations]",
    remedy="slower mixing",
    changes_physics=False,
    worked=False,
)
LOCAL = replace(SLOWER, evidence="", remedy="local mixing", worked=True)
SMEARING = replace(LOCAL, diagnosis="broyden", remedy="smearing", changes_physics=True, worked=None)


@pytest.fixture
def store(settings: Settings, make_job: Callable[..., Job], make_result: Callable[..., Result]) -> Store:
    """Append a result to the store of the farm, with what it is to say, as if at a time."""

    def append(
        material: str, outcome: Outcome = Outcome.DONE, at: datetime | None = None, **fields: Any
    ) -> None:
        clock = {"clock": at.timestamp} if at else {}
        with StoreWriter(settings.store_path, **clock) as writer:
            writer.append(replace(make_result(make_job(material), outcome), **fields))

    return append


def told(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    document: dict[str, Any] = json.loads(out)
    return document


def rows(out: str, first_word: str) -> list[str]:
    """Lines that begin with a word, with single spaces."""
    lines = [" ".join(line.split()) for line in out.splitlines()]
    return [line for line in lines if line.split(" ")[0] == first_word]


@pytest.mark.parametrize("with_file", [False, True])
def test_a_farm_without_results_is_one_sentence(run: Run, settings: Settings, with_file: bool) -> None:
    if with_file:
        with StoreWriter(settings.store_path):
            pass
    code, out, err = run("report")
    assert (code, err) == (0, "")
    assert out == f"{settings.store_path} holds no results: " + (
        "`farm seed` queues crystals, `farm up` computes them.\n"
    )
    document = told(run, "report")
    assert (document["results"], document["stages"], document["not_done"]) == (0, [], [])


def test_the_report_of_a_store(run: Run, store: Store) -> None:
    store("a", stages=STAGES, steps=(SCF,), corrections=(SLOWER, LOCAL))
    store("b", stages=STAGES, corrections=(LOCAL,))
    store("c", Outcome.FAILED, stages=(), reason="no density", diagnosis="broyden", advice="Look [here]")
    store("d", Outcome.METAL, stages=(), reason="gap below 0.05 eV", corrections=(SMEARING,))
    document = told(run, "report")
    assert document["outcomes"] == {"done": 2, "metal": 1, "unconverged": 0, "failed": 1}
    stages = {stage["stage"]: stage for stage in document["stages"]}
    assert stages["response"]["cpu_s"]["share"] == 0.25
    assert stages["ground_state"]["disk_mb"]["results"] == 1
    assert [(r["remedy"], r["share"]) for r in document["remedies"]] == [
        ("local mixing", 1.0),
        ("smearing", None),
        ("slower mixing", 0.0),
    ]
    assert [e["example"] for e in document["not_done"]] == ["c", "d"]

    code, out, _ = run("report")
    assert code == 0
    assert out.startswith("4 results: 2 done, 1 metal, 1 failed\n")
    assert rows(out, "CPU") == ["CPU ground_state 2 30 s 30 s 30 s 60 s 75%"]
    assert rows(out, "peak") == ["peak memory ground_state 2 80.0 MB 80.0 MB 80.0 MB"]
    assert rows(out, "all") == [
        "all stages 2 40 s 40 s 40 s 80 s 100%",
        "all stages 2 50 s 50 s 50 s 100 s 100%",
        "all stages 2 2.5 GB 2.5 GB 2.5 GB",
        "all stages 1 12.5 MB 12.5 MB 12.5 MB",
    ]
    assert rows(out, "scf_unconverged") == [
        "scf_unconverged local mixing 2 2 100%",
        "scf_unconverged slower mixing 1 0 0%",
    ]
    assert rows(out, "broyden") == ["broyden smearing 1 not known"]
    assert rows(out, "failed") == ["failed broyden 1 c Look [here]"]
    assert rows(out, "metal") == ["metal (not named) 1 d gap below 0.05 eV"]


def test_a_report_without_costs_and_remedies_says_so(run: Run, store: Store) -> None:
    store("d", Outcome.METAL, stages=(), reason="an odd number of electrons")
    _, out, _ = run("report")
    assert "no remedy was tried" in out
    assert "median" not in out


def test_known_and_unknown_ends_of_a_remedy_are_told_apart(run: Run, store: Store) -> None:
    store("a", corrections=(LOCAL, replace(LOCAL, worked=False), replace(LOCAL, worked=None)))
    assert rows(run("report")[1], "scf_unconverged") == ["scf_unconverged local mixing 3 1 50% of 2"]


def test_since_counts_what_was_stored_since_then_in_utc(run: Run, store: Store) -> None:
    store("early", at=datetime(2026, 1, 30, 23, 59, 59, tzinfo=UTC))
    store("late", Outcome.METAL, at=datetime(2026, 1, 31, tzinfo=UTC))
    assert told(run, "report")["results"] == 2
    assert told(run, "report", "--since", "2026-01-31")["outcomes"]["done"] == 0
    assert told(run, "report", "--since", "2026-01-31")["outcomes"]["metal"] == 1
    assert told(run, "report", "--since", "2026-01-31T00:00:01")["results"] == 0
    code, out, _ = run("report", "--since", "2026-02-01")
    assert (code, out.count("\n")) == (0, 1)
    assert "holds no results since 2026-02-01 00:00: " in out
    code, out, err = run("report", "--since", "yesterday")
    assert (code, out) == (2, "")
    assert "yesterday" in err


def test_of_several_results_of_one_job_the_newest_counts(run: Run, store: Store) -> None:
    store("a", Outcome.FAILED, stages=STAGES, corrections=(SLOWER,))
    store("a", stages=STAGES[:1])
    document = told(run, "report")
    assert document["outcomes"]["failed"] == 0
    assert [stage["stage"] for stage in document["stages"]] == ["ground_state", "all"]
    assert document["remedies"] == []


@pytest.mark.parametrize("damage", [b"{", b"\xff"], ids=["no JSON", "no UTF-8"])
def test_a_damaged_store_is_one_line(run: Run, store: Store, settings: Settings, damage: bytes) -> None:
    store("a", stages=STAGES)
    with h5py.File(settings.store_path, "r+", libver=LIBRARY_BOUNDS) as file:
        file["text"][file["text_offsets"][0, TEXTS.index("stages")]] = damage[0]
    code, out, err = run("report")
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert "damaged" in err


def test_show_has_a_row_for_each_step_and_each_correction(run: Run, store: Store) -> None:
    store("periclase", stages=STAGES, steps=(SCF, SPECTRA), corrections=(SLOWER, LOCAL, SMEARING))
    document = told(run, "show", "periclase")
    assert [StepUsage.from_dict(step) for step in document["steps"]] == [SCF, SPECTRA]
    assert [Correction(**correction) for correction in document["corrections"]] == [SLOWER, LOCAL, SMEARING]
    assert [stage["cpu_s"] for stage in document["stages"]] == [30.0, 10.0]

    code, out, _ = run("show", "periclase")
    assert code == 0
    assert rows(out, "step") == ["step CPU s wall s peak MB disk MB attempts"]
    assert rows(out, SCF.name) == ["scf-60Ry-4x4x4 30.2 40.5 80.0 12.5 3"]
    assert rows(out, "spectra") == ["spectra 30.2 40.5 80.0 0.2 1 failed"]
    assert rows(out, "cpu_s") == ["cpu_s ground_state 30, response 10"]
    assert rows(out, "corrected") == [
        "corrected scf-60Ry-4x4x4, scf_unconverged: slower mixing: did not help",
        "corrected scf-60Ry-4x4x4, scf_unconverged: local mixing: worked",
        "corrected scf-60Ry-4x4x4, broyden: smearing, changes physics: not known whether it worked",
    ]
    assert rows(out, "pw-1.out:120:") == ["pw-1.out:120: convergence NOT achieved [100 iterations]"]
    assert out.count("\n") <= 40  # about a screen


def test_show_of_a_result_without_steps_has_its_stages(run: Run, store: Store) -> None:
    store("periclase", stages=STAGES)
    out = run("show", "periclase")[1]
    assert rows(out, "stage") == ["stage CPU s wall s peak MB"]
    assert rows(out, "response") == ["response 10.0 10.0 2500.0"]
    assert rows(out, "step") == []


def test_show_of_what_failed_says_what_and_what_to_do(run: Run, store: Store) -> None:
    store("d", Outcome.FAILED, reason="atoms overlap", diagnosis="overlap", advice="Check the source")
    out = run("show", "d")[1]
    assert rows(out, "diagnosis") == ["diagnosis overlap"]
    assert rows(out, "advice") == ["advice Check the source"]
    assert rows(out, "state") == ["state failed"]
