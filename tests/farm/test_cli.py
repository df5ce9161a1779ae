"""The command line: help everywhere, exit codes, JSON, and one line for a user's mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from seed_samples import entry, write_entries

from farm.backlog import Backlog
from farm.cli.main import cli
from farm.hold import Hold
from farm.job import Job, JobState, Outcome
from farm.result import Result
from farm.settings import Settings
from farm.slot_class import SlotClass
from farm.store import StoreWriter
from farm.writer import store_waiting

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command and subcommand by its words."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += all_commands(command, (*path, name))
    return found


@pytest.mark.parametrize("words", all_commands(cli), ids=" ".join)
def test_every_command_has_help_that_says_something(words: tuple[str, ...], run: Run) -> None:
    code, out, _ = run(*words, "--help")
    assert code == 0
    assert "Usage:" in out
    example = " ".join(("farm", *words))
    assert any(line.strip().startswith(example) for line in out.splitlines()), "no example"


def test_help_lists_every_command_once(run: Run) -> None:
    _, out, _ = run("--help")
    for words in all_commands(cli):
        if len(words) == 1:
            assert sum(line.split()[:1] == [words[0]] for line in out.splitlines()) == 1, words


def test_status_of_an_empty_farm(run: Run) -> None:
    code, out, _ = run("status", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document["jobs"].values()) == {0}
    assert document["store"] == {"materials": 0, "ipa": 0, "rpa": 0}
    assert document["checkpoint"] is None
    assert document["paused"] is False


@pytest.mark.parametrize("card", ["{", "[]", '{"version": "0001-a"}', None])
def test_a_damaged_checkpoint_is_told_and_the_rest_of_the_status_too(
    run: Run, settings: Settings, card: str | None
) -> None:
    checkpoint = settings.checkpoints_dir / "0001-a"
    checkpoint.mkdir(parents=True)
    if card is not None:
        (checkpoint / "card.json").write_text(card)
    (settings.checkpoints_dir / "latest").symlink_to("0001-a")
    code, out, _ = run("status", "--json")
    document = json.loads(out)
    assert (code, document["checkpoint"]) == (0, None)
    assert "0001-a, is damaged" in document["checkpoint_damage"]
    assert "0001-a, is damaged" in run("status")[1]


def test_status_loads_neither_torch_nor_pymatgen(settings: Settings) -> None:
    script = "import sys\nfrom farm.cli.main import main\ntry: main(['status'])\nexcept SystemExit: pass\n"
    script += "print(sorted(m for m in ('torch', 'pymatgen', 'scipy', 'celery') if m in sys.modules))"
    environment = {"FARM_REDIS_URL": str(settings.redis_url), "FARM_HOME": str(settings.home), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_jobs_can_be_steered_by_id_formula_and_state(run: Run, backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue([make_job("One", 1.0), make_job("Two", 2.0), make_job("Three", 3.0)])
    assert json.loads(run("prioritise", "Three", "--json")[1])["first now"] == ["Three"]
    assert json.loads(run("cancel", "Two", "--json")[1])["cancelled"] == ["Two"]
    listed = json.loads(run("jobs", "--json")[1])
    assert [(job["material"], job["state"]) for job in listed] == [
        ("Three", "ready"),
        ("One", "ready"),
        ("Two", "cancelled"),
    ]
    assert sorted(json.loads(run("cancel", "MgO", "--json")[1])["cancelled"]) == ["One", "Three"]
    assert len(json.loads(run("retry", "--state", "cancelled", "--json")[1])["queued again"]) == 3
    assert run("pause")[0] == 0
    assert json.loads(run("status", "--json")[1])["paused"] is True
    assert run("resume")[0] == 0


def test_a_formula_of_several_materials_asks_which(
    run: Run,
    settings: Settings,
    make_job: MakeJob,
    make_result: MakeResult,
) -> None:
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("one")))
        writer.append(make_result(make_job("two"), Outcome.METAL, "gap below 0.05 eV"))
    code, _, err = run("show", "MgO")
    assert code == 2
    assert "names several materials. Choose one of one, two" in err


def test_show_one_material(
    run: Run,
    settings: Settings,
    make_job: MakeJob,
    make_result: MakeResult,
) -> None:
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("periclase")))
    picture = settings.home / "MgO.png"
    code, out, _ = run("show", "periclase", "--plot", str(picture), "--json")
    document = json.loads(out)
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [step["gmax_mry"] for step in document["ladder"]] == [0, 2000]
    assert document["state"] == "done"
    assert "2000" in run("show", "MgO")[1]  # by formula, as text
    code, _, err = run("show", "periclase", "--plot", str(settings.home / "MgO.foo"))
    assert (code, err.count("\n")) == (2, 1)
    assert "Name a .png, .pdf or .svg file" in err
    archive = settings.home / "out.npz"
    assert run("export", str(archive))[0] == 0
    assert archive.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("show", "Unobtainium"), 2, "no material Unobtainium"),
        (("cancel", "Unobtainium"), 2, "no such job: Unobtainium"),
        (("retry",), 2, "nothing was named"),
        (("export", "out.npz"), 1, "spectra.h5"),
        (("seed", "--min-gap", "nan"), 2, "not a finite number"),
        (("seed", "--engine", "yambo", "--bands", "reduced-basis"), 2, "takes its bands by nscf"),
        (("seed", "--protocol", "papre"), 2, "no protocol named 'papre'"),
        (("seed", "--elements", "Si,Xx"), 2, "no such element: Xx"),
        (("seed", "--elements", ","), 2, "no element is named"),
        (("jobs", "--state", "sleeping"), 2, "sleeping"),
        (("sedd",), 2, "No such command"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    run: Run,
    arguments: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    got, out, err = run(*arguments)
    assert (got, told in err, out) == (code, True, ""), err
    assert "Traceback" not in err


def test_seed_queues_the_good_and_names_the_bad(run: Run, backlog: Backlog, tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.mkdir()
    cell = {"@module": "pymatgen.core.structure", "@class": "Structure"}
    cell["lattice"] = {"matrix": [[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]}
    cell["sites"] = [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("Mg", 0), ("O", 0.5))
    ]
    (source / "good.json").write_text(json.dumps([cell, cell]))
    (source / "bad.json").write_text(json.dumps([{"mat_id": "[/red]", **cell, "sites": []}]))
    arguments = ("seed", str(source), str(tmp_path / "nowhere"), "--protocol", "demo", "--json")
    planned = run(*arguments, "--dry-run")
    assert planned[0] == 0
    assert backlog.ready_order() == []
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert out == planned[1]
    document = json.loads(out)
    (job,) = document["queued"]
    assert set(job) == {"material", "formula", "n_atoms", "predicted_cpu_s", "rung"}
    assert (job["formula"], job["n_atoms"]) == ("MgO", 2)
    assert [item["reason"] for item in document["skipped"]] == [f"the same crystal as {job['material']}"]
    assert [set(item) for item in document["rejected"]] == [{"source", "reason", "fix"}] * 2
    assert list(document["predicted_cpu_hours"]) == ["2"]
    assert [name.split(".")[0] for name in backlog.ready_order()] == [job["material"]]
    code, out, _ = run("seed", str(source), "--protocol", "demo")
    assert code == 0
    assert "rejected " + str(source / "bad.json") + ", [/red]: " in out
    assert "skipped 1: ready in this farm already" in out
    assert run("seed", str(source / "bad.json"))[0] == 1


def test_seed_lists_every_rejection_in_a_file_and_counts_them_by_kind(run: Run, tmp_path: Path) -> None:
    entries = [entry(n, total_mag=1.0) for n in range(30)] + [entry(30), {"mat_id": "none"}]
    source = write_entries(tmp_path / "x.json.bz2", entries)
    listed = tmp_path / "rejected.jsonl"
    code, out, err = run("seed", str(source), "--protocol", "demo", "--dry-run", "--rejected", str(listed))
    assert (code, err) == (0, "")
    assert "would queue 1, skipped 0, rejected 31" in out
    assert out.count("magnetic (total_mag") == 20 + 1
    assert "... and 11 more rejected" in out
    assert "rejected 30: Take a non-magnetic structure (first " in out
    assert "rejected 1: Export the entry with its structure (first " in out
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [row["source"].rpartition(", ")[2] for row in rows] == [f"m{n}" for n in range(30)] + ["none"]
    assert {frozenset(row) for row in rows} == {frozenset({"source", "reason", "fix"})}
    told = json.loads(run("seed", str(source), "--protocol", "demo", "--dry-run", "--json")[1])
    assert told["rejected"] == rows
    nowhere = str(tmp_path / "nowhere" / "x.jsonl")
    code, out, err = run("seed", str(source), "--rejected", nowhere)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert nowhere in err


def test_seed_shows_a_bar_on_a_terminal_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_entries(tmp_path / "x.json.bz2", [entry(n, total_mag=float(n == 3)) for n in range(150)])
    arguments = ("seed", str(source), "--protocol", "demo", "--limit", "120", "--json")
    assert run(*arguments, "--dry-run")[::2] == (0, "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(*arguments)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert code == 0
    assert len(json.loads(out)["queued"]) == 120
    assert re.search(r"100% +[\d,]+/s, 120 queued, 0 skipped, 1 rejected, 0:00:00 left", shown)
    # The bundled crystals are there at once.
    assert run("seed", "--protocol", "demo", "--limit", "1")[2] == ""


def test_a_job_that_has_not_run_has_nothing_to_plot(
    run: Run, backlog: Backlog, settings: Settings, make_job: MakeJob
) -> None:
    backlog.enqueue([make_job("One", 1.0)])
    assert json.loads(run("show", "One", "--json")[1])["state"] == "ready"
    code, out, err = run("show", "One", "--plot", str(settings.home / "x.png"))
    assert (code, out) == (2, "")
    assert "One is ready: it has no spectra to plot yet" in err


def test_what_the_store_lost_is_queued_again(
    run: Run,
    backlog: Backlog,
    settings: Settings,
    make_result: MakeResult,
) -> None:
    assert run("seed", "--protocol", "demo", "--limit", "2")[0] == 0
    for dispatch in backlog.dispatch(2, 10.0):
        job = backlog.start(dispatch.job_id, dispatch.token, "worker@here.1", 10.0)
        backlog.deliver(dispatch.job_id, dispatch.token, make_result(job).pack())
        with StoreWriter(settings.store_path) as writer:
            assert store_waiting(backlog, writer)
    assert json.loads(run("status", "--json")[1])["jobs"]["done"] == 2
    skipped = json.loads(run("seed", "--protocol", "demo", "--limit", "2", "--json")[1])["skipped"]
    assert [item["reason"] for item in skipped] == ["in the store already"] * 2
    settings.store_path.unlink()
    with StoreWriter(settings.store_path) as writer:  # a fresh store that holds one of the two
        writer.append(make_result(job))
    document = json.loads(run("seed", "--protocol", "demo", "--limit", "2", "--json")[1])
    (lost,) = document["queued"]
    assert lost["material"] != job.crystal.material_id
    assert [view.material_id for view in backlog.jobs([JobState.READY])] == [lost["material"]]


def test_nothing_is_cut_in_a_narrow_terminal(
    run: Run,
    settings: Settings,
    make_job: MakeJob,
    make_result: MakeResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("periclase")))

    def words(*arguments: str) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", run(*arguments)[1])

    assert make_job().protocol_hash in "".join(words("show", "periclase").split())
    assert "energy_tolerance_kcal_mol " in words("protocols")
    for command in (("show", "periclase"), ("protocols",), ("status",), ("doctor",)):
        assert "…" not in words(*command), command


def test_a_home_that_cannot_be_is_one_line(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARM_REDIS_URL")
    (tmp_path / "file").write_text("")
    code, out, err = run("--home", str(tmp_path / "file"), "status")
    assert (code, out) == (1, "")
    assert err.startswith(f"farm: {tmp_path / 'file'}")
    assert err.count("\n") == 1


def test_an_unreachable_redis_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_REDIS_URL", "redis://127.0.0.1:1/0")
    for command in ("status", "jobs", "seed", "scheduler"):
        code, _, err = run(command)
        assert code == 1, command
        assert err.count("\n") == 1, err
        assert ".." not in err
        assert "Redis cannot be reached" in err


def test_jobs_are_chosen_by_what_they_are_made_of_and_cost(
    run: Run, backlog: Backlog, make_job: MakeJob
) -> None:
    cheap, dear = make_job("Cheap", 1.0), make_job("Dear", 900.0)
    salt = replace(make_job("Salt", 2.0).crystal, species=("Na", "Cl"))
    backlog.enqueue([cheap, dear, replace(cheap, crystal=salt, predicted_cpu_s=2.0)])
    assert json.loads(run("prioritise", "--elements", "Na,Cl", "--json")[1])["first now"] == ["Salt"]
    listed = json.loads(run("jobs", "--elements", "Mg,O", "--max-cpu-s", "10", "--json")[1])
    assert [job["material"] for job in listed] == ["Cheap"]
    both = json.loads(run("cancel", "Salt", "Dear", "--max-cpu-s", "10", "--json")[1])
    assert both["jobs"] == [replace(cheap, crystal=salt).job_id]
    assert [job["material"] for job in json.loads(run("jobs", "--limit", "1", "--json")[1])] == ["Cheap"]
    code, out, err = run("cancel")
    assert (code, out) == (2, "")
    assert "nothing was named" in err


def test_status_names_who_takes_no_jobs_and_what_waits_for_whom(
    run: Run, backlog: Backlog, make_job: MakeJob
) -> None:
    backlog.enqueue([make_job(), replace(make_job("Big"), slot_class=SlotClass.LARGE)])
    worker = {"role": "worker", "slots": 2, "queues": ["native.small"]}
    backlog.roster.report_worker("worker@a.1", worker, 60.0, Hold("scratch is full"))
    out = run("status")[1]
    assert "0%, no worker takes jobs" in out
    assert "worker@a.1 (2 slots) takes no jobs: scratch is full" in out
    assert "1 job waits for a large slot" in out
    document = json.loads(run("status", "--json")[1])
    assert document["unserved"] == {"native.large": 1}
    assert document["workers"][0]["hold"] == "scratch is full"
    assert [advice["command"] for advice in document["advice"] if "scratch" in advice["text"]] == [
        "farm doctor"
    ]


def test_status_counts_the_slots_that_take_jobs(run: Run, backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue([make_job()])
    worker = {"role": "worker", "slots": 2, "queues": ["native.small"]}
    assert "no worker is running" in run("status")[1]
    backlog.roster.report_worker("worker@a.1", worker, 60.0)
    leaving = Hold("told to stop by SIGTERM", is_leaving=True)
    backlog.roster.report_worker("worker@b.1", worker, 60.0, leaving)
    out = run("status")[1]
    assert "left on 2 slots" in out
    assert "worker@b.1 (2 slots) takes no jobs: told to stop by SIGTERM" in out
    assert "farm doctor" not in out
