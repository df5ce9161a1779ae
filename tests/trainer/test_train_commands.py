"""`farm train` as a user types it, on a store of its own."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner

from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.sources import read_source
from farm.store import StoreWriter
from trainer.checkpoints.registry import Registry
from trainer.cli.train import train
from trainer.data.split import DEFAULT_RULE, composition_key
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan, default_plan
from trainer.fitting.refit import refit_dataset
from trainer.networks.architectures import ARCHITECTURES
from trainer.networks.freezing import PARTS
from trainer.networks.optimate import OptiMateConfig
from trainer.report.curve_file import read_curve
from trainer.trials.one_fit import Step
from trainer.trials.progress import Bars, Lines, curve_watcher, search_watcher

SMALL = OptiMateConfig(embedding=(8,), attention=((8, 2),), output=(16,), n_energies=41)


def fill(path, dataset):
    protocol = Protocol(n_energies=41)
    with StoreWriter(path) as writer:
        for row in dataset.rows:
            spectra = (
                [row.ipa_eps_imag] if row.rpa_eps_imag is None else [row.ipa_eps_imag, row.rpa_eps_imag]
            )
            steps = [
                LadderStep(
                    gmax_mry=2000 * n, n_g=1 + 8 * n, step_similarity=None, eps=1 + 1j * s.astype(float)
                )
                for n, s in enumerate(spectra)
            ]
            writer.append(
                Result(
                    crystal=row.crystal,
                    protocol=protocol.to_dict(),
                    protocol_hash=protocol.hash,
                    engine=Engine.NATIVE,
                    outcome=Outcome.DONE,
                    ladder=tuple(steps),
                )
            )


@pytest.fixture
def home(tmp_path, monkeypatch, dataset_of):
    """A farm whose store holds 40 materials; recipes of a few epochs and small networks."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    fill(tmp_path / "home" / "spectra.h5", dataset_of(40))

    def short(architecture, *, device=None):
        plan = default_plan(architecture, device=device)
        model = (
            SMALL
            if architecture == "optimate"
            else replace(plan.model, width=16, heads=2, layers=1, hidden=(16,), n_oscillators=20, n_bands=4)
        )
        similarity_model = replace(SMALL, n_energies=1)
        parts = {
            name: replace(getattr(plan, name), epochs=3, least_steps=0)
            for name in ("base", "transfer", "similarity")
        }
        return replace(plan, model=model, similarity_model=similarity_model, **parts)

    for module in ("trainer.trials.trial_plan", "trainer.trials.learning_curve"):
        monkeypatch.setattr(f"{module}.default_plan", short)
    return tmp_path / "home"


def run(*arguments):
    return CliRunner().invoke(train, [str(a) for a in arguments], obj={"home": None})


def document_of(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("kind", ["base", "transfer", "direct", "similarity"])
def test_each_kind_prints_its_measures_and_one_document(kind):
    document = document_of(kind, "--epochs", 2, "--threads", 1)
    assert (document["kind"], document["epochs"]) == (kind, 2)
    assert document["architecture"] == ("optimate" if kind == "similarity" else "oscillators")
    result = run(kind, "--epochs", 2, "--threads", 1)
    assert result.exit_code == 0, result.output
    for found in document["metrics"].values():
        quoted = found.get("median_sc", found.get("median_error"))
        assert f"{quoted:.3f}" in result.stdout
    # Progress is told where it is not in the way.
    assert "epoch 1 of 2, loss" in result.stderr


@pytest.mark.usefixtures("home")
def test_options_are_those_of_the_plan():
    plan = document_of(
        *("transfer", "--architecture", "optimate", "--loss", "similarity", "--epochs", 1, "--lr", 0.02),
        *(
            "--weight-decay",
            0.3,
            "--batch-size",
            7,
            "--seed",
            4,
            "--freeze",
            "embedding",
            "--freeze",
            "head",
        ),
    )
    recipe, base = plan["plan"], plan["base"]
    told = {name: recipe[name] for name in ("loss", "epochs", "lr", "weight_decay", "batch_size", "seed")}
    assert told == {
        "loss": "similarity",
        "epochs": 1,
        "lr": 0.02,
        "weight_decay": 0.3,
        "batch_size": 7,
        "seed": 4,
    }
    assert recipe["frozen"] == ["embedding", "head"]
    assert (base["seed"], base["epochs"], base["loss"]) == (4, 3, "l1")
    assert document_of("direct", "--dropout", 0.2, "--epochs", 1)["model"]["dropout"] == 0.2
    assert "frozen" not in document_of("transfer", "--freeze", "none", "--epochs", 1)["plan"]


@pytest.mark.usefixtures("home")
def test_published_is_the_recipe_and_the_network_of_the_paper():
    document = document_of("similarity", "--published", "--epochs", 1)
    assert (document["plan"]["lr"], document["plan"]["batch_size"]) == (1e-3, 64)
    assert document["model"] == OptiMateConfig(n_energies=1).to_dict() | {"embedding": [48, 48]}
    result = run("transfer", "--published", "--architecture", "oscillators")
    assert isinstance(result.exception, InputError)


@pytest.mark.usefixtures("home")
def test_folds_give_mean_and_spread():
    document = document_of("direct", "--folds", 3, "--epochs", 1)
    assert len(document["folds"]) == 3
    result = run("direct", "--folds", 3, "--epochs", 1)
    mean, spread = (document[key]["rpa"]["median_sc"] for key in ("mean", "standard_deviation"))
    assert f"median SC {mean:.3f} ± {spread:.3f}" in result.stdout


@pytest.mark.usefixtures("home")
def test_a_search_prints_a_line_that_repeats_its_best(tmp_path):
    pytest.importorskip("optuna")
    study = tmp_path / "study.journal"
    asked = ("transfer", "--freeze", "embedding", "--epochs", 2, "--folds", 2, "--seed", 3)
    document = document_of(*asked, "--search", 3, "--study", study)
    words = shlex.split(document["command"])
    assert words[:3] == ["farm", "train", "transfer"]
    recipe = document_of(*words[2:])["plan"]
    best = dict(document["best"])
    # The first trial, the recipe there was, may be the best: it has no dropout.
    best.pop("dropout")
    assert {name: recipe[name] for name in best} == best
    assert (recipe["seed"], recipe["epochs"], recipe["frozen"]) == (3, 2, ["embedding"])
    result = run(*asked, "--search", 3, "--study", study)
    assert document["command"] in result.stdout


def test_a_split_from_a_file_and_a_base_from_a_checkpoint(home, tmp_path, dataset_of):
    dataset = dataset_of(40)
    plan = RefitPlan(
        base=FitPlan(epochs=2, lr=1e-2), transfer=FitPlan(epochs=2, lr=1e-3), members=1, model=SMALL
    )
    report = refit_dataset(
        dataset, Registry(home / "checkpoints"), now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan
    )
    result = run("transfer", "--base", report.version, "--epochs", 1, "--json")
    document = json.loads(result.stdout)
    assert (document["base"], document["model"]) == (None, SMALL.to_dict())
    assert "another split" not in result.stderr
    learning = [
        r.material_id for r in dataset.rows if not DEFAULT_RULE.is_held_out(composition_key(r.crystal))
    ]
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"test": learning[:6]}))
    by_rule = document_of("direct", "--epochs", 1)["split"]
    by_file = document_of("direct", "--epochs", 1, "--split", path)["split"]
    assert by_file["n_held_out"] == by_rule["n_held_out"] + 6
    result = run("transfer", "--base", report.version, "--epochs", 1, "--split", path)
    assert "another split" in result.stderr


@pytest.mark.usefixtures("home")
def test_a_split_is_completed_from_structure_files(tmp_path, rock_salt):
    sources = tmp_path / "structures"
    sources.mkdir()
    for cation, anion in (("Mg", "O"), ("Li", "F"), ("K", "Cl")):
        cif = rock_salt(cation, anion).to_structure().to(fmt="cif")
        (sources / f"{cation}{anion}.cif").write_text(cif)
    (sources / "broken.cif").write_text("data_nothing\n")
    crystals = [item for item in read_source(sources) if isinstance(item, Crystal)]
    found = {crystal.formula: crystal.material_id for crystal in crystals}
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": [found["LiF"], "elsewhere"], "test": [found["MgO"]]}))
    missing = run("split", path, sources, tmp_path / "nowhere.cif")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "nowhere.cif" in missing.stderr
    result = run("split", path, sources)
    assert json.loads(result.stdout)["compositions"] == {found["LiF"]: "F1Li1", found["MgO"]: "Mg1O1"}
    assert "1 of 2 train, 0 of 0 validation, 1 of 1 test ids" in result.stderr
    path.write_text(result.stdout)
    assert document_of("direct", "--epochs", 1, "--split", path)["split"]["n_held_out"] > 0


@pytest.mark.usefixtures("home")
def test_resume_goes_on_with_the_same_command(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.fitting.fit_state.SAVE_EVERY_S", 0.0)
    state = tmp_path / "fit.state"
    asked = ("direct", "--epochs", 4, "--json")
    whole = document_of(*asked[:-1])
    real, seen = Lines.__call__, []

    def stop_at_the_third(self, title, done, numbers):
        seen.append(numbers.split(",")[0])
        real(self, title, done, numbers)
        if len(seen) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Lines, "__call__", stop_at_the_third)
    assert run(*asked, "--resume", state).exit_code == 1
    assert state.is_file()
    document = json.loads(run(*asked, "--resume", state).stdout)
    assert document["metrics"] == whole["metrics"]
    assert seen[-2:] == ["epoch 3 of 4", "epoch 4 of 4"]
    assert not state.exists()


@pytest.mark.usefixtures("home")
def test_a_curve_is_read_by_the_report(tmp_path):
    asked = ("curve", "--sizes", "8,all", "--seeds", 2, "--small-cells", "2", "--epochs", 1)
    path = tmp_path / "curve.json"
    path.write_text(run(*asked, "--json").stdout)
    curve = read_curve(path)
    assert {point.kind for point in curve.points} == {"transfer", "direct", "small-cells"}
    result = run(*asked)
    assert result.exit_code == 0, result.output
    assert "small-cells <= 2 atoms" in result.stdout
    assert f"{curve.ipa_as_rpa:.3f}" in result.stdout
    assert "fit 1 of 12" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("transfer", "--folds", 3, "--resume", "x"), "--resume is of one fit"),
        (("transfer", "--folds", 3, "--base", "x"), "has seen what the folds"),
        (("transfer", "--study", "x"), "--study goes with --search"),
        (("transfer", "--freeze", "none", "--freeze", "head"), "goes with no other part"),
        (("curve", "--sizes", "30,some"), "'some' is no number"),
        (("curve", "--small-cells", "0"), "'0' is no number"),
        (("base", "--freeze", "head"), "No such option"),
        (("direct", "--published"), "No such option"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_too_little_in_the_store_is_told(tmp_path, monkeypatch, dataset_of):
    monkeypatch.setenv("FARM_HOME", str(tmp_path))
    two = dataset_of(2)
    fill(tmp_path / "spectra.h5", two)
    result = run("transfer")
    assert isinstance(result.exception, InputError)
    assert "too few" in str(result.exception)
    (tmp_path / "spectra.h5").unlink()
    from trainer.data.dataset import build_dataset

    ipa_alone = [replace(row, rpa_eps_imag=None) for row in dataset_of(20).rows]
    fill(tmp_path / "spectra.h5", build_dataset(ipa_alone, two.energies_ev))
    result = run("transfer")
    assert isinstance(result.exception, InputError)
    assert "none of the 20 materials has an RPA spectrum" in str(result.exception)


def test_lines_come_now_and_then_with_the_time_to_go():
    now, said = [0.0], []
    lines = Lines(said.append, lambda: now[0])
    for epoch in range(61):
        now[0] = 2.0 * epoch
        lines("transfer", (epoch + 1) / 100, f"epoch {epoch + 1}")
    lines("next", 0.5, "epoch 1")
    assert said[:2] == ["transfer: epoch 1", "transfer: epoch 6, about 3 min to go"]
    assert len(said) == 14
    assert said[-2:] == ["transfer: epoch 61, about 78 s to go", "next: epoch 1"]


def test_a_bar_begins_anew_with_what_runs():
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    with Progress(TextColumn("{task.fields[numbers]}"), console=Console(quiet=True)) as bars:
        show = Bars(bars)
        search_watcher(show, 5)(
            1, Step(stage="direct", epoch=0, epochs=4, loss=0.5, validation_loss=0.25, validation_sc=0.75)
        )
        task = bars.tasks[0]
        assert (task.description, task.completed) == ("trial 2 of 5: direct", 0.25)
        assert task.fields["numbers"] == "epoch 1 of 4, loss 0.5000, validation 0.2500, SC 0.750"
        curve_watcher(show)(3, 8, "seed 0: base", 1, 4)
        assert [(t.description, t.completed) for t in bars.tasks] == [("learning curve", 2.5 / 8)]


def test_choices_are_those_of_the_networks_and_loading_them_loads_no_torch():
    transfer = train.commands["transfer"]
    choices = {p.name: set(p.type.choices) for p in transfer.params if isinstance(p.type, click.Choice)}
    assert choices["architecture"] == set(ARCHITECTURES)
    assert choices["freeze"] == {*PARTS, "none"}
    heavy = "('torch', 'h5py', 'optuna', 'pymatgen')"
    code = f"import sys, trainer.cli.train; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_command_has_help_with_examples():
    for name, command in train.commands.items():
        result = run(name, "--help")
        assert result.exit_code == 0
        assert f"farm train {name}" in result.output, command
