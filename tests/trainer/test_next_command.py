"""`farm next` as a user types it: of files, and of a backlog in a real Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from click.testing import CliRunner

from farm.backlog import Backlog
from farm.broker import connect
from farm.job import Engine, Job
from farm.policy import order
from farm.protocol import PRESETS
from trainer.checkpoints.registry import Registry
from trainer.cli.next import next_
from trainer.data.split import SplitRule
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.inference.acquire import propose
from trainer.inference.ranking import latents

PROTOCOL = PRESETS["demo"]
QUICK = FitPlan(epochs=8, lr=1e-2, batch_size=16, threads=1)


@pytest.fixture
def registry(tmp_path, monkeypatch, dataset_of, small_config):
    """A checkpoint that says how sure it is: of 60 compounds a third stop the fits early."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path))
    registry = Registry(tmp_path / "checkpoints")
    rule = SplitRule(validation_share=0.3)
    plan = RefitPlan(base=QUICK, transfer=QUICK, similarity=QUICK, members=3, model=small_config, rule=rule)
    refit_dataset(dataset_of(60), registry, now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan)
    return registry


@pytest.fixture
def jobs(dataset_of, rock_salt):
    known = {crystal.material_id for crystal in dataset_of(60).crystals}
    # In cells in which they have neighbours.
    crystals = [
        rock_salt(*crystal.species, 4.4 + 0.1 * number)
        for number, crystal in enumerate(dataset_of(81).crystals)
        if crystal.material_id not in known
    ]
    return [
        Job(
            crystal=crystal,
            protocol=PROTOCOL.to_dict(),
            protocol_hash=PROTOCOL.hash,
            engine=Engine.NATIVE,
            predicted_cpu_s=5.0 + number,
        )
        for number, crystal in enumerate(crystals)
    ]


def run(*arguments):
    return CliRunner().invoke(next_, [str(a) for a in arguments], obj=None)


def test_the_first_of_the_policy_are_named_with_what_is_expected(registry, jobs, tmp_path):
    found, n_unseen = propose(
        jobs, "diverse", limit=5, checkpoints_dir=registry.directory, store_path=tmp_path / "none.h5"
    )
    model, _ = registry.load()
    vectors, _ = latents(model, [job.crystal for job in jobs])
    costs = np.array([job.predicted_cpu_s for job in jobs])
    chosen = order("diverse", costs, vectors, np.empty((0, vectors.shape[1])), limit=5)[:5]
    assert [one.crystal.material_id for one in found] == [jobs[i].crystal.material_id for i in chosen]
    assert n_unseen == 0
    assert all(one.expected_sc is not None and one.expected_sc < 1 for one in found)
    assert all(one.similarity is not None and one.similarity <= 1 for one in found)
    assert len({one.expected_sc for one in found}) == 5


@pytest.mark.usefixtures("registry")
def test_a_backlog_is_asked_and_left_as_it_is(jobs, redis_url, monkeypatch):
    monkeypatch.setenv("FARM_REDIS_URL", redis_url)
    backlog = Backlog(connect(redis_url), name="farm")
    backlog.enqueue(jobs)
    before = backlog.ready_order()
    result = run("--limit", 3, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["policy"], document["not_seen"]) == ("uncertainty-per-cost", 0)
    assert len(document["next"]) == 3
    assert set(document["next"][0]) == {
        "material",
        "formula",
        "n_atoms",
        "predicted_cpu_s",
        "expected_sc",
        "predicted_similarity",
    }
    assert backlog.ready_order() == before


@pytest.mark.usefixtures("registry")
def test_files_are_priced_and_what_cannot_be_seen_is_counted(tmp_path, rock_salt):
    candidates = tmp_path / "candidates"
    candidates.mkdir()
    for cation, anion, a in (("Rb", "Cl", 6.6), ("Sr", "O", 5.2), ("Cs", "F", 6.0), ("In", "N", 4.9)):
        structure = rock_salt(cation, anion, a).to_structure()
        (candidates / f"{cation}{anion}.cif").write_text(structure.to(fmt="cif"))
    (candidates / "broken.cif").write_text("data_x\n_cell_length_a 4\n")
    result = run(candidates, "--protocol", "demo", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert {one["formula"] for one in document["next"]} == {"RbCl", "SrO", "InN"}
    assert document["not_seen"] == 1
    assert all(one["predicted_cpu_s"] > 0.1 for one in document["next"])
    assert "broken.cif" in result.stderr
    table = run(candidates, "--protocol", "demo", "--limit", 2).stdout
    assert len(table.splitlines()) == 3
    assert "expected SC" in table
    nothing = run(candidates / "broken.cif", "--json")
    assert (nothing.exit_code, json.loads(nothing.stdout)["next"]) == (1, [])


def test_without_a_checkpoint_it_says_so(tmp_path, monkeypatch, jobs):
    monkeypatch.setenv("FARM_HOME", str(tmp_path))
    (tmp_path / "MgO.cif").write_text(jobs[0].crystal.to_structure().to(fmt="cif"))
    result = run(tmp_path / "MgO.cif")
    assert result.exit_code == 1
    assert "no promoted checkpoint" in str(result.exception)
