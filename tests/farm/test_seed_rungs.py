"""``farm seed --rung``: with local fields, without, or as a chooser says of each crystal."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from seed_samples import entry, write_entries

from farm.backlog import Backlog, Finish
from farm.cost import cost_prior, predict_cost
from farm.cost_model import CostModel, model_key
from farm.crystal import Crystal
from farm.errors import CheckpointError
from farm.job import Job, JobState, Outcome, make_job_id
from farm.processes import ALONE, BATCH
from farm.protocol import PRESETS
from farm.result import Result
from farm.rung import Rung, RungChoice, RungChooser
from farm.seeding import Queued, Queueing, Rungs, Terms, seed_rows
from farm.settings import Settings
from farm.sources import Filters, Skipped, cut_source, read_source
from farm.stage import Stage
from farm.store import StoreWriter

Run = Callable[..., tuple[int, str, str]]
MakeResult = Callable[..., Result]
Install = Callable[[Callable[[Path, float], RungChooser]], None]

DEMO = PRESETS["demo"]
IPA = DEMO.ipa_only()
BUNDLED = {item.material_id: item for item in read_source(None) if isinstance(item, Crystal)}
# Of the bundled crystals; the model cannot see the others.
PREDICTED = {"C-diamond": 0.97, "MgO": 0.91004, "LiN3": 0.4}


def by_table(enough_sc: float) -> RungChooser:
    """A chooser that looks up."""

    def choose(crystals: Sequence[Crystal]) -> list[RungChoice]:
        found = []
        for crystal in crystals:
            value = PREDICTED.get(crystal.material_id)
            rung = Rung.IPA if value is not None and value >= enough_sc else Rung.RPA
            reason = "unseen" if value is None else "alike" if rung is Rung.IPA else "not alike"
            found.append(RungChoice(rung=rung, reason=reason, predicted_similarity=value))
        return found

    return choose


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a function in place of the part that chooses."""

    def install(make_chooser: Callable[[Path, float], RungChooser]) -> None:
        point = SimpleNamespace(load=lambda: make_chooser)
        monkeypatch.setattr("farm.cli.seed_rungs.entry_points", lambda **_: [point])

    return install


@pytest.fixture
def auto(install: Install) -> list[float]:
    """The chooser by the table; what it was told is enough."""
    told: list[float] = []

    def make_chooser(_: Path, enough_sc: float) -> RungChooser:
        told.append(enough_sc)
        return by_table(enough_sc)

    install(make_chooser)
    return told


def seeded(run: Run, *flags: str) -> dict[str, Any]:
    code, out, _ = run("seed", "--protocol", "demo", "--json", *flags)
    document = json.loads(out)
    assert code == 0
    assert isinstance(document, dict)
    return document


def ids(document: dict[str, Any]) -> set[str]:
    return {job["material"] for job in document["queued"]}


def store(settings: Settings, *results: Result) -> None:
    with StoreWriter(settings.store_path) as writer:
        for result in results:
            writer.append(result)


def job_of(material: str, *, at: Rung = Rung.RPA) -> Job:
    protocol = DEMO if at is Rung.RPA else IPA
    return Job(crystal=BUNDLED[material], protocol=protocol.to_dict(), protocol_hash=protocol.hash)


def test_rpa_is_the_default_and_is_told(run: Run, backlog: Backlog) -> None:
    document = seeded(run, "--limit", "2")
    assert all(job["rung"] == "rpa" and "predicted_similarity" not in job for job in document["queued"])
    assert {job.protocol_hash for job in backlog.ready_jobs(10)} == {DEMO.hash}
    _, out, _ = run("seed", "--protocol", "demo", "--limit", "5")
    assert " at RPA" not in out


def test_ipa_queues_without_local_fields(run: Run, backlog: Backlog) -> None:
    whole = {job["material"]: job["predicted_cpu_s"] for job in seeded(run, "--dry-run")["queued"]}
    document = seeded(run, "--rung", "ipa")
    assert len(document["queued"]) == len(BUNDLED)
    assert all(job["rung"] == "ipa" and "predicted_similarity" not in job for job in document["queued"])
    assert all(job["predicted_cpu_s"] <= whole[job["material"]] for job in document["queued"])
    assert sum(job["predicted_cpu_s"] for job in document["queued"]) < 0.97 * sum(whole.values())
    jobs = backlog.ready_jobs(100)
    assert {job.protocol_hash for job in jobs} == {IPA.hash}
    assert {job.protocol["gmax_max_mry"] for job in jobs} == {0}
    _, out, _ = run("seed", "--protocol", "demo", "--rung", "ipa")
    assert "queued 0, skipped 20" in out


def test_the_sum_says_how_many_at_which_rung(run: Run) -> None:
    _, out, _ = run("seed", "--protocol", "demo", "--rung", "ipa", "--dry-run")
    assert "would queue 20 at IPA\n" in out
    assert "would queue 20, skipped 0" in out


def test_a_protocol_file_without_local_fields_is_ipa(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ipa.toml"
    path.write_text("preset = 'demo'\ngmax_max_mry = 0\n")
    code, out, _ = run("seed", "--protocol", str(path), "--limit", "3", "--json")
    assert code == 0
    assert {job["rung"] for job in json.loads(out)["queued"]} == {"ipa"}


@pytest.mark.parametrize("rung", ["ipa", "auto"])
def test_what_the_store_holds_at_rpa_is_not_computed_at_ipa(
    run: Run, settings: Settings, make_result: MakeResult, auto: list[float], rung: str
) -> None:
    del auto
    store(
        settings,
        make_result(job_of("C-diamond")),
        make_result(job_of("MgO"), Outcome.UNCONVERGED, "local fields"),
        make_result(job_of("Si"), Outcome.METAL, "no gap"),
    )
    document = seeded(run, "--rung", rung)
    skipped = {row["material"]: row["reason"] for row in document["skipped"]}
    told = "in the store already, at RPA" if rung == "ipa" else "in the store already"
    assert skipped == dict.fromkeys(("C-diamond", "MgO", "Si"), told)
    assert len(document["queued"]) == len(BUNDLED) - 3


def test_a_failure_at_rpa_says_nothing_of_ipa(
    run: Run, settings: Settings, make_result: MakeResult
) -> None:
    store(settings, make_result(job_of("MgO"), Outcome.FAILED, "no memory"))
    assert "MgO" in ids(seeded(run, "--rung", "ipa"))
    assert "MgO" not in ids(seeded(run, "--rung", "rpa"))


def test_ipa_in_the_store_does_not_answer_rpa(
    run: Run, settings: Settings, make_result: MakeResult
) -> None:
    whole = make_result(job_of("MgO", at=Rung.IPA))
    store(settings, replace(whole, ladder=whole.ladder[:1]))
    document = seeded(run, "--rung", "ipa")
    assert {"material": "MgO", "reason": "in the store already"} in document["skipped"]
    assert "MgO" in ids(seeded(run))


def test_what_waits_or_runs_at_rpa_is_not_queued_at_ipa(run: Run, backlog: Backlog) -> None:
    whole = {name: job_of(name) for name in ("MgO", "Si", "C-diamond")}
    backlog.enqueue(whole.values())
    [dispatch] = backlog.dispatch(1, 60)
    backlog.start(dispatch.job_id, dispatch.token, "w", 60)
    waiting = sorted({job.job_id for job in whole.values()} - {dispatch.job_id})
    backlog.cancel([waiting[0]])
    document = seeded(run, "--rung", "ipa")
    skipped = {row["material"]: row["reason"] for row in document["skipped"]}
    assert skipped == {
        dispatch.job_id.split(".")[0]: "running in this farm already, at RPA",
        waiting[1].split(".")[0]: "ready in this farm already, at RPA",
    }
    # Nothing will come of a job that was cancelled.
    assert waiting[0].split(".")[0] in ids(document)


def test_what_the_store_has_lost_at_rpa_is_queued_at_ipa(
    run: Run, backlog: Backlog, settings: Settings, make_result: MakeResult
) -> None:
    jobs = [job_of(name) for name in ("MgO", "Si")]
    backlog.enqueue(jobs)
    for dispatch in backlog.dispatch(2, 60):
        backlog.start(dispatch.job_id, dispatch.token, "w", 60)
        backlog.deliver(dispatch.job_id, dispatch.token, b"")
    backlog.finish([Finish(job_id=job.job_id, outcome=Outcome.DONE, reason="", cpu_s=1.0) for job in jobs])
    store(settings, make_result(jobs[1]))
    queueing = Queueing(backlog, lambda: frozenset({jobs[1].job_id}))
    assert queueing.answered(job.job_id for job in jobs) == {jobs[1].job_id: JobState.DONE}
    # Where the store cannot be seen, what was finished counts as kept.
    assert len(Queueing(backlog).answered(job.job_id for job in jobs)) == 2
    assert {"MgO", "Si"} & ids(seeded(run, "--rung", "ipa")) == {"MgO"}


def test_auto_chooses_for_each_crystal(run: Run, backlog: Backlog, auto: list[float]) -> None:
    document = seeded(run, "--rung", "auto")
    assert auto == [0.9]
    told = {job["material"]: (job["rung"], job["predicted_similarity"]) for job in document["queued"]}
    assert len(told) == len(BUNDLED)
    assert {name: told[name] for name in PREDICTED} == {
        "C-diamond": ("ipa", 0.97),
        "MgO": ("ipa", 0.91),  # to four digits
        "LiN3": ("rpa", 0.4),
    }
    assert {told[name] for name in set(told) - set(PREDICTED)} == {("rpa", None)}
    costs = {job["material"]: job["predicted_cpu_s"] for job in document["queued"]}
    assert costs["MgO"] == pytest.approx(predict_cost(BUNDLED["MgO"], IPA).total_cpu_s, abs=0.01)
    assert costs["LiN3"] == pytest.approx(predict_cost(BUNDLED["LiN3"], DEMO).total_cpu_s, abs=0.01)
    queued = {job.crystal.material_id: job.protocol_hash for job in backlog.ready_jobs(100)}
    assert {name for name, protocol_hash in queued.items() if protocol_hash == IPA.hash} == {
        "C-diamond",
        "MgO",
    }


@pytest.mark.usefixtures("auto")
def test_auto_says_how_many_and_why(run: Run) -> None:
    code, out, _ = run("seed", "--protocol", "demo", "--rung", "auto", "--dry-run")
    assert code == 0
    assert "would queue 17 at RPA: unseen\n" in out
    assert "would queue 2 at IPA: alike\n" in out
    assert "would queue 1 at RPA: not alike\n" in out
    (diamond,) = (line for line in out.splitlines() if line.strip().startswith("C-diamond"))
    assert diamond.split()[-2:] == ["0.970", "IPA"]


def test_auto_twice_computes_nothing_twice(
    run: Run, backlog: Backlog, install: Install, settings: Settings, make_result: MakeResult
) -> None:
    asked: list[str] = []

    def make_chooser(_: Path, enough_sc: float) -> RungChooser:
        def choose(crystals: Sequence[Crystal]) -> list[RungChoice]:
            asked.extend(crystal.material_id for crystal in crystals)
            return by_table(enough_sc)(crystals)

        return choose

    install(make_chooser)
    assert len(ids(seeded(run, "--rung", "auto"))) == len(BUNDLED)
    asked.clear()
    again = seeded(run, "--rung", "auto")
    assert again["queued"] == []
    assert {row["reason"] for row in again["skipped"]} == {"ready in this farm already"}
    # What is known at RPA needs no prediction.
    assert sorted(asked) == ["C-diamond", "MgO"]
    # A model that has learnt better may ask for RPA; one that asks for less gets what there is.
    assert ids(seeded(run, "--rung", "auto", "--ipa-enough", "0.95")) == {"MgO"}
    assert ids(seeded(run, "--rung", "auto", "--ipa-enough", "0.3")) == set()
    backlog.connection.redis.flushdb()
    whole = make_result(job_of("C-diamond", at=Rung.IPA))
    store(settings, replace(whole, ladder=whole.ladder[:1]))
    assert "C-diamond" not in ids(seeded(run, "--rung", "auto"))


def test_what_is_enough_comes_from_the_settings_and_the_flag(
    run: Run, settings: Settings, auto: list[float]
) -> None:
    (settings.home / "farm.toml").write_text("ipa_enough_sc = 0.96\n")
    document = seeded(run, "--rung", "auto", "--dry-run")
    assert [job["material"] for job in document["queued"] if job["rung"] == "ipa"] == ["C-diamond"]
    seeded(run, "--rung", "auto", "--ipa-enough", "0.98", "--dry-run")
    assert auto == [0.96, 0.98]


@pytest.mark.usefixtures("auto")
def test_each_rung_is_predicted_with_what_its_own_jobs_taught(run: Run, backlog: Backlog) -> None:
    before = {job["material"]: job["predicted_cpu_s"] for job in seeded(run, "--dry-run")["queued"]}
    model = CostModel()
    for crystal in BUNDLED.values():
        prior = cost_prior(crystal, IPA)
        model = model.observe(prior, dict(zip(Stage, (3 * s for s in prior.cpu_s), strict=True)))
    backlog.set_cost_model(model_key("native", IPA.hash), model)
    document = seeded(run, "--rung", "auto")
    ratios = {
        job["material"]: job["predicted_cpu_s"] / before[job["material"]] for job in document["queued"]
    }
    assert all((ratios[name] > 2) == (name in ("C-diamond", "MgO")) for name in ratios)


def test_a_large_source_is_chosen_for_batch_by_batch(backlog: Backlog, tmp_path: Path) -> None:
    n_entries = (ALONE + 1) * BATCH + 17
    path = write_entries(tmp_path / "x.json.bz2", [entry(n) for n in range(n_entries)])
    sizes: list[int] = []

    def choose(crystals: Sequence[Crystal]) -> list[RungChoice]:
        sizes.append(len(crystals))
        return [
            RungChoice(
                rung=Rung.IPA if int(crystal.material_id[1:]) % 2 else Rung.RPA,
                reason="",
                predicted_similarity=0.5,
            )
            for crystal in crystals
        ]

    terms = Terms(filters=Filters(), protocol=DEMO)
    rungs = Rungs(rpa_hash=DEMO.hash, choose=choose, ipa=replace(terms, protocol=IPA))
    rows = [
        row
        for batch in seed_rows(
            cut_source(path), terms, queueing=Queueing(backlog), rungs=rungs, n_processes=2
        )
        for row in batch
    ]
    assert sizes == [BATCH] * (ALONE + 1) + [17]
    assert [row.material for row in rows if isinstance(row, Queued | Skipped)] == [
        f"m{n}" for n in range(n_entries)
    ]
    assert all(
        isinstance(row, Queued) and (row.rung is Rung.IPA) == (n % 2 == 1) for n, row in enumerate(rows)
    )
    odd = make_job_id("m1", IPA.hash, "native")
    assert backlog.known([odd]) == {odd: JobState.READY}


def no_checkpoint(_: Path, __: float) -> RungChooser:
    raise CheckpointError("no checkpoint in /farm-home/checkpoints yet", fix="`farm train similarity`")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rung", "auto"), "no checkpoint in /farm-home/checkpoints yet. Seed with `--rung rpa` until"),
        (("--rung", "ipa", "--ipa-enough", "0.9"), "--ipa-enough is for --rung auto alone"),
        (("--ipa-enough", "0.9"), "--ipa-enough is for --rung auto alone"),
        (("--rung", "auto", "--ipa-enough", "1.5"), "ipa_enough_sc"),
        (("--rung", "auto", "--ipa-enough", "nan"), "not a finite number"),
        (("--rung", "auto", "--protocol", "ipa.toml"), "there is nothing to choose"),
    ],
)
def test_what_cannot_be_chosen_is_one_clear_error(
    run: Run,
    install: Install,
    backlog: Backlog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    install(no_checkpoint)
    monkeypatch.chdir(tmp_path)
    Path("ipa.toml").write_text("gmax_max_mry = 0\n")
    code, out, err = run("seed", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert backlog.counts()[JobState.READY] == 0


def test_a_farm_without_a_part_that_chooses_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.cli.seed_rungs.entry_points", lambda **_: [])
    code, _, err = run("seed", "--rung", "auto")
    assert code == 1
    assert "no part that predicts is installed" in err
    assert err.count("\n") == 1


def test_the_part_that_chooses_is_declared(run: Run, install: Install) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (target,) = project["entry-points"]["farm.rung_choosers"].values()
    module, _, name = target.partition(":")
    install(getattr(import_module(module), name))
    code, _, err = run("seed", "--rung", "auto")
    # The real one, in a farm without a checkpoint.
    assert code == 2
    assert "--rung rpa" in err
    assert err.count("\n") == 1
