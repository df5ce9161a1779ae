"""The order of the backlog by the model in use: real checkpoints, a real store and a real Redis."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from farm.backlog import Backlog
from farm.crystal import Crystal
from farm.job import Engine, Job, Outcome
from farm.policy import order
from farm.protocol import PRESETS
from farm.queues import RANK, make_app
from farm.result import LadderStep, Result
from farm.settings import Settings
from farm.store import StoreWriter
from trainer.checkpoints.registry import Registry
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.inference.ranking import latents, places, rank
from trainer.networks.architectures import new_model
from trainer.networks.graph import crystal_graph
from trainer.networks.network import pooled_vectors
from trainer.tasks import register, run_rank

PROTOCOL = PRESETS["demo"]
QUICK = FitPlan(epochs=20, lr=1e-2, batch_size=16, threads=1)


def job_of(crystal: Crystal, cost: float) -> Job:
    return Job(
        crystal=crystal,
        protocol=PROTOCOL.to_dict(),
        protocol_hash=PROTOCOL.hash,
        engine=Engine.NATIVE,
        predicted_cpu_s=cost,
    )


@pytest.fixture
def farm(settings: Settings, dataset_of, small_config) -> Settings:
    """A farm whose policy asks a model, and the model: fitted to the first 30 compounds."""
    settings = settings.model_copy(update={"policy": "uncertainty-per-cost"})
    plan = RefitPlan(base=QUICK, transfer=QUICK, model=small_config)
    registry = Registry(settings.checkpoints_dir)
    refit_dataset(dataset_of(30), registry, now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan)
    return settings


@pytest.fixture
def jobs(dataset_of) -> list[Job]:
    """The other 51 compounds, at costs that follow nothing."""
    costs = np.random.default_rng(0).permutation(51) + 10.0
    crystals = dataset_of(81).crystals
    known = {crystal.material_id for crystal in dataset_of(30).crystals}
    return [
        job_of(crystal, float(cost))
        for crystal, cost in zip([c for c in crystals if c.material_id not in known], costs, strict=True)
    ]


@pytest.fixture
def zinc_sulfide(rock_salt: Callable[..., Crystal]) -> Crystal:
    """The network does not know the d block."""
    return replace(rock_salt("Mg", "S"), material_id="ZnS", species=("Zn", "S"))


def store_results(settings: Settings, crystals: list[Crystal]) -> None:
    eps = np.full((3, PROTOCOL.n_energies), 1.0 + 1.0j)
    steps = tuple(
        LadderStep(gmax_mry=g, n_g=n, step_similarity=None, eps=eps) for g, n in ((0, 1), (2000, 9))
    )
    with StoreWriter(settings.store_path) as writer:
        for crystal in crystals:
            assert writer.append(
                Result(
                    crystal=crystal,
                    protocol=PROTOCOL.to_dict(),
                    protocol_hash=PROTOCOL.hash,
                    engine=Engine.NATIVE,
                    outcome=Outcome.DONE,
                    ladder=steps,
                    gmax_converged_mry=(2000, 2000, 2000),
                )
            )


def expected_order(farm: Settings, jobs: list[Job], known: list[Crystal]) -> list[str]:
    """Ids as the policy has them, from vectors made one by one."""
    model, _ = Registry(farm.checkpoints_dir).load()

    def vectors(crystals: list[Crystal]) -> np.ndarray:
        made = [pooled_vectors(model, [crystal_graph(crystal)])[0].numpy() for crystal in crystals]
        return np.array(made, dtype=float).reshape(len(crystals), 16)

    cpu_s = np.array([job.predicted_cpu_s for job in jobs])
    chosen = order(farm.policy, cpu_s, vectors([j.crystal for j in jobs]), vectors(known), limit=1000)
    return [jobs[i].job_id for i in chosen]


def by_cost(jobs: list[Job]) -> list[str]:
    return [job.job_id for job in sorted(jobs, key=lambda job: job.predicted_cpu_s)]


# -- places ----------------------------------------------------------------------------------------


def test_places_are_the_costs_in_the_order_chosen() -> None:
    cpu_s = np.array([5.0, 1.0, 3.0, 9.0])
    assert places(np.array([3, 0, 2, 1]), cpu_s).tolist() == [3.0, 9.0, 5.0, 1.0]


def test_equal_costs_leave_no_two_at_one_place() -> None:
    placed = places(np.arange(999, -1, -1), np.repeat([0.0, 5e4], 500))
    written = [float(f"{place:.9g}") for place in placed]  # as they come to Redis
    assert all(early > late for early, late in itertools.pairwise(written))
    assert written[0] == pytest.approx(5e4, rel=1e-3)


# -- latents ---------------------------------------------------------------------------------------


def test_latents_are_the_pooled_vectors_of_those_that_can_be_seen(
    dataset_of, small_config, rock_salt, zinc_sulfide
) -> None:
    # Of its images within 5 angstrom alone there are millions.
    flat = replace(rock_salt("Na", "F"), lattice_angstrom=((1e4, 0, 0), (0, 1e4, 0), (0, 0, 1e-7)))
    crystals = [*dataset_of(2).crystals, zinc_sulfide, flat, *dataset_of(5).crystals[3:]]
    model = new_model(small_config, 0).eval()
    found, seen = latents(model, crystals)
    assert seen.tolist() == [0, 1, 4, 5]
    with torch.no_grad():
        one_by_one = torch.cat([model.pooled(crystal_graph(crystals[i])) for i in seen])
    assert np.allclose(found, one_by_one, atol=1e-6)
    assert found.std(axis=0).max() > 0.0


def test_a_network_without_finite_numbers_sees_nothing(dataset_of, small_config) -> None:
    model = new_model(small_config, 0)
    torch.nn.init.constant_(model.gat2.bias, float("nan"))
    found, seen = latents(model, dataset_of(4).crystals)
    assert found.shape == (0, 16)
    assert seen.size == 0


def test_many_crystals_are_the_same_in_pieces(dataset_of, small_config, monkeypatch) -> None:
    model, crystals = new_model(small_config, 0), dataset_of(20).crystals
    whole, _ = latents(model, crystals)
    monkeypatch.setattr("trainer.inference.ranking._CRYSTALS_AT_A_TIME", 3)
    pieces, seen = latents(model, crystals)
    assert seen.tolist() == list(range(20))
    assert np.allclose(whole, pieces, atol=1e-6)


# -- the backlog -----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["uncertainty-per-cost", "diverse"])
@pytest.mark.parametrize("n_stored", [0, 12])
def test_what_waits_stands_in_the_order_of_the_policy(
    backlog: Backlog, farm: Settings, jobs: list[Job], dataset_of, policy: str, n_stored: int
) -> None:
    farm = farm.model_copy(update={"policy": policy})
    known = list(dataset_of(30).crystals[:n_stored])
    if known:
        store_results(farm, known)
    backlog.enqueue(jobs)
    run_rank(backlog, farm)
    found = backlog.ready_order()
    # Jobs come from the backlog cheapest first; of equal scores that does not matter.
    ranked = sorted(jobs, key=lambda job: job.predicted_cpu_s)
    assert found == expected_order(farm, ranked, known)
    assert found != by_cost(jobs)


def test_the_store_counts_as_known(backlog: Backlog, farm: Settings, jobs: list[Job]) -> None:
    backlog.enqueue(jobs[10:])
    run_rank(backlog, farm)
    before = backlog.ready_order()
    store_results(farm, [job.crystal for job in jobs[:10]])
    run_rank(backlog, farm)
    assert backlog.ready_order() != before


def test_a_job_seeded_later_stands_among_the_ranked_by_its_cost(
    backlog: Backlog, farm: Settings, jobs: list[Job], rock_salt
) -> None:
    backlog.enqueue(jobs)
    run_rank(backlog, farm)
    new = [
        job_of(replace(rock_salt("Mg", "O", 4.3 + n), material_id=f"new-{n}"), 9.5 + 20 * n)
        for n in range(3)
    ]
    backlog.enqueue(new)
    ids = backlog.ready_order()
    cheaper = [
        sum(job.predicted_cpu_s < one.predicted_cpu_s for job in [*jobs, *new[:n]])
        for n, one in enumerate(new)
    ]
    assert [ids.index(one.job_id) for one in new] == cheaper == [0, 21, 42]


def test_what_the_model_cannot_see_keeps_the_place_of_its_cost(
    backlog: Backlog, farm: Settings, jobs: list[Job], zinc_sulfide: Crystal
) -> None:
    unseen = job_of(zinc_sulfide, 30.5)
    backlog.enqueue([*jobs, unseen])
    run_rank(backlog, farm)
    ids = backlog.ready_order()
    assert ids.index(unseen.job_id) == sum(job.predicted_cpu_s < 30.5 for job in jobs)
    ids.remove(unseen.job_id)
    assert ids == expected_order(farm, sorted(jobs, key=lambda job: job.predicted_cpu_s), [])


def test_what_a_user_put_first_stays_first(backlog: Backlog, farm: Settings, jobs: list[Job]) -> None:
    backlog.enqueue(jobs)
    dearest = max(jobs, key=lambda job: job.predicted_cpu_s).job_id
    backlog.prioritise([dearest])
    run_rank(backlog, farm)
    assert backlog.ready_order()[0] == dearest


def test_a_record_that_cannot_be_read_does_not_stop_the_others(
    backlog: Backlog, farm: Settings, jobs: list[Job], client
) -> None:
    backlog.enqueue(jobs)
    client.hset("farm:records", jobs[0].job_id, b"\x01garbage")
    run_rank(backlog, farm)
    ids = backlog.ready_order()
    assert len(ids) == len(jobs)
    ids.remove(jobs[0].job_id)
    assert ids == expected_order(farm, sorted(jobs[1:], key=lambda job: job.predicted_cpu_s), [])


def test_without_a_model_the_cheapest_go_first(backlog: Backlog, farm: Settings, jobs: list[Job]) -> None:
    backlog.enqueue(jobs)
    run_rank(backlog, farm)
    assert backlog.ready_order() != by_cost(jobs)
    (farm.checkpoints_dir / "latest").unlink()
    run_rank(backlog, farm)
    assert backlog.ready_order() == by_cost(jobs)


def test_cheapest_takes_back_what_another_policy_placed(
    backlog: Backlog, farm: Settings, jobs: list[Job]
) -> None:
    backlog.enqueue(jobs)
    run_rank(backlog, farm)
    assert backlog.ready_order() != by_cost(jobs)
    run_rank(backlog, farm.model_copy(update={"policy": "cheapest"}))
    assert backlog.ready_order() == by_cost(jobs)
    # And new predictions move what stands there again.
    dearest = max(jobs, key=lambda job: job.predicted_cpu_s).job_id
    backlog.rescore({dearest: 0.5})
    assert backlog.ready_order()[0] == dearest


def test_a_ranking_that_fails_leaves_the_order(
    backlog: Backlog, farm: Settings, jobs: list[Job], caplog: pytest.LogCaptureFixture
) -> None:
    backlog.enqueue(jobs)
    run_rank(backlog, farm)
    before = backlog.ready_order()
    farm.store_path.write_bytes(b"no store at all")
    with caplog.at_level(logging.ERROR):
        run_rank(backlog, farm)
    assert "the order stays" in caplog.text
    assert backlog.ready_order() == before


def test_an_empty_backlog_is_ranked(backlog: Backlog, farm: Settings) -> None:
    run_rank(backlog, farm)
    assert backlog.ready_order() == []


def test_the_message_of_the_scheduler_ranks(
    backlog: Backlog, farm: Settings, jobs: list[Job], redis_url: str
) -> None:
    backlog.enqueue(jobs)
    app = make_app(redis_url)
    register(app, backlog, farm)
    app.tasks[RANK]()
    assert backlog.ready_order() == expected_order(
        farm, sorted(jobs, key=lambda job: job.predicted_cpu_s), []
    )


def test_a_refit_is_followed_by_a_ranking(
    backlog: Backlog, farm: Settings, jobs: list[Job], redis_url: str
) -> None:
    backlog.enqueue(jobs)
    app = make_app(redis_url)
    register(app, backlog, farm)
    store_results(farm, [job.crystal for job in jobs[:3]])  # too few for a fit
    app.tasks["trainer.fitting.refit"](3)
    assert backlog.ready_order() != by_cost(jobs)


def test_the_report_says_what_was_done(farm: Settings, jobs: list[Job], zinc_sulfide: Crystal) -> None:
    ranking = rank(
        [*jobs[:4], job_of(zinc_sulfide, 1.0)],
        "diverse",
        checkpoints_dir=farm.checkpoints_dir,
        store_path=farm.store_path,
    )
    version = Registry(farm.checkpoints_dir).latest()
    assert ranking.n_left_out == 1
    assert ranking.message == f"4 jobs by diverse with {version}, 0 known; 1 that it cannot see by cost"
