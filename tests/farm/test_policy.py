"""What to compute next: each policy against its definition, and what none may do."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from farm.errors import InputError
from farm.policy import (
    CHEAPEST_EVERY,
    COVERING_DIMENSION,
    PRIOR_PRECISION,
    Policy,
    order,
    principal_components,
)

POLICIES: tuple[Policy, ...] = get_args(Policy)
MODEL_POLICIES = tuple(policy for policy in POLICIES if policy != "cheapest")


def crystals(n: int, n_known: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs over two orders of magnitude, latents of six dimensions and unequal variances in ten."""
    draw = np.random.default_rng(seed)
    axes = draw.normal(size=(6, 10)) * np.exp(-np.arange(6) / 2)[:, None]
    return (
        np.exp(draw.normal(size=n) + 2),
        draw.normal(size=(n, 6)) @ axes + 3.0,
        draw.normal(size=(n_known, 6)) @ axes + 3.0,
    )


def insured(n: int) -> bool:
    """Whether the n-th choice is the cheapest left."""
    return n % CHEAPEST_EVERY == CHEAPEST_EVERY - 1


def by_definition(
    policy: Policy, cpu_s: np.ndarray, latents: np.ndarray, known: np.ndarray, n: int
) -> list[int]:
    """The choices made one by one, each from nothing."""
    waiting, seen = principal_components(latents, known)
    everything, chosen = np.concatenate([waiting, seen]), list[int]()

    def mean_variance(indices: list[int]) -> float:
        z = np.concatenate([seen, waiting[indices]])
        inverse = np.linalg.inv(PRIOR_PRECISION * np.eye(z.shape[1]) + z.T @ z)
        return float(np.einsum("ij,jk,ik->", everything, inverse, everything))

    def score(i: int) -> float:
        if policy == "uncertainty-per-cost":
            return (mean_variance(chosen) - mean_variance([*chosen, i])) / cpu_s[i]
        near = np.concatenate([seen, waiting[chosen]])
        return np.linalg.norm(near - waiting[i], axis=1).min() / cpu_s[i] ** (1 / COVERING_DIMENSION)

    for k in range(n):
        left = [i for i in range(cpu_s.size) if i not in chosen]
        chosen.append(min(left, key=lambda i: cpu_s[i]) if insured(k) else max(left, key=score))
    return chosen


@pytest.mark.parametrize("policy", MODEL_POLICIES)
@pytest.mark.parametrize("n_known", [4, 30])
def test_updates_choose_what_the_definition_chooses(policy: Policy, n_known: int) -> None:
    cpu_s, latents, known = crystals(40, n_known)
    expected = by_definition(policy, cpu_s, latents, known, 25)
    assert order(policy, cpu_s, latents, known, limit=25)[:25].tolist() == expected
    # Costs alone would choose otherwise.
    assert expected != np.argsort(cpu_s)[:25].tolist()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("n", "n_known", "limit"), [(0, 3, 5), (1, 0, 5), (30, 0, 7), (30, 9, 99), (30, 9, 0)]
)
def test_everybody_is_in_the_order_once(policy: Policy, n: int, n_known: int, limit: int) -> None:
    found = order(policy, *crystals(n, n_known), limit=limit)
    assert sorted(found.tolist()) == list(range(n))
    assert found.dtype == np.int64


@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_policy_does_not_choose_follows_by_cost(policy: Policy) -> None:
    cpu_s, latents, known = crystals(50, 5)
    found = order(policy, cpu_s, latents, known, limit=8)
    rest = found if policy == "cheapest" else found[8:]
    assert np.all(np.diff(cpu_s[rest]) >= 0)
    if policy != "cheapest":
        assert np.any(np.diff(cpu_s[found[:8]]) < 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_crystals_that_are_all_alike_go_by_cost_and_then_by_index(policy: Policy) -> None:
    cpu_s = np.array([3.0, 1.0, 2.0, 1.0])
    found = order(policy, cpu_s, np.ones((4, 5)), np.ones((2, 5)), limit=4)
    assert found.tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_ten_copies_of_a_material_are_not_ten_choices(policy: Policy) -> None:
    draw = np.random.default_rng(1)
    places = np.eye(5) * 10
    latents = np.repeat(places, 10, axis=0) + 0.01 * draw.normal(size=(50, 5))
    found = order(policy, np.ones(50), latents, np.empty((0, 5)), limit=20)
    assert {i // 10 for i in found[:5].tolist()} == set(range(5))


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_of_two_alike_the_cheaper_goes_first(policy: Policy) -> None:
    cpu_s, latents, known = crystals(20, 8)
    cpu_s[:10], cpu_s[10:] = 5.0, 4.0
    latents[10:] = latents[:10]
    found = order(policy, cpu_s, latents, known, limit=5)[:5]
    assert np.all(found >= 10)


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_what_is_cheap_and_known_does_not_wait_for_ever(policy: Policy) -> None:
    draw = np.random.default_rng(2)
    # Forty cheap copies of what is known, and two hundred that are new and dear.
    latents = np.concatenate([np.zeros((40, 30)), draw.normal(size=(200, 30))])
    cpu_s = np.concatenate([np.linspace(10.0, 11.0, 40), np.full(200, 12.0)])
    ranks = np.argsort(order(policy, cpu_s, latents, np.zeros((3, 30)), limit=200))
    # The copies teach nothing: only the insurance calls them.
    assert np.all(ranks[:15] == CHEAPEST_EVERY * np.arange(1, 16) - 1)


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_units_and_axes_of_latents_do_not_matter(policy: Policy) -> None:
    cpu_s, latents, known = crystals(60, 10)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(10, 10)))[0]
    found, turned = (
        order(policy, cpu_s, a, b, limit=30)
        for a, b in ((latents, known), (1e-3 * latents @ turn + 7, 1e-3 * known @ turn + 7))
    )
    assert found.tolist() == turned.tolist()


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_one_freak_does_not_decide_for_the_others(policy: Policy) -> None:
    cpu_s, latents, known = crystals(60, 10)
    freak = 1e8 * np.ones((1, 10))
    found = order(policy, np.append(cpu_s, 1e4), np.concatenate([latents, freak]), known, limit=61)
    alone = order(policy, cpu_s, latents, known, limit=60)
    first = [i for i in found.tolist() if i != 60][:20]
    assert len(set(first) & set(alone[:20].tolist())) >= 14


def test_components_keep_distances_and_their_number_is_bounded() -> None:
    draw = np.random.default_rng(4)
    latents, known = draw.normal(size=(90, 80)), draw.normal(size=(20, 80))
    few, _ = principal_components(latents, known)
    assert few.shape == (90, 32)
    waiting, seen = principal_components(latents[:, :12], known[:, :12])
    assert waiting.shape == (90, 12)
    together = np.concatenate([waiting, seen])
    assert np.mean((together**2).sum(axis=1)) == pytest.approx(1.0)
    ratio = np.linalg.norm(waiting[0] - waiting[1:], axis=1) / np.linalg.norm(
        latents[0, :12] - latents[1:, :12], axis=1
    )
    assert ratio == pytest.approx(ratio[0])


@pytest.mark.parametrize("policy", MODEL_POLICIES)
def test_arrays_that_do_not_fit_are_an_input_error(policy: Policy) -> None:
    cpu_s, latents, known = crystals(6, 2)
    with pytest.raises(InputError, match="fit together"):
        order(policy, cpu_s, latents[:5], known, limit=3)
    with pytest.raises(InputError, match="fit together"):
        order(policy, cpu_s, latents, known[:, :4], limit=3)
    with pytest.raises(InputError, match="latent is not finite"):
        order(policy, cpu_s, np.where(latents == latents[0, 0], np.nan, latents), known, limit=3)
    with pytest.raises(InputError, match="cost is not finite"):
        order(policy, np.full(6, np.inf), latents, known, limit=3)
