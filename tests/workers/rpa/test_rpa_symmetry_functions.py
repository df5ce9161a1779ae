"""Symmetry-adapted functions against the average over all operations, on made-up pair densities."""

from __future__ import annotations

import numpy as np
import pytest

from farm.crystal import Crystal
from farm.kpoints import space_group
from workers.rpa.gvectors import GVectors, shells_up_to, symmetric_metric
from workers.rpa.symmetry import (
    AXES,
    BISECTORS,
    Operations,
    channels,
    equivalent_directions,
    operations,
)


def crystal(lattice: np.ndarray, species: tuple[str, ...], positions: list[list[float]]) -> Crystal:
    rows = tuple((float(x), float(y), float(z)) for x, y, z in lattice)
    return Crystal("x", rows, species, tuple((p[0], p[1], p[2]) for p in positions))


FCC = np.array([[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]])
HEXAGONAL = np.array([[4.4, 0, 0], [-2.2, 2.2 * 3**0.5, 0], [0, 0, 5.0]])
MONOCLINIC = np.array([[4.0, 0, 0], [0, 5.0, 0], [1.1, 0, 6.0]])
U = 0.225
CASES = {
    "Fd-3m": crystal(FCC, ("Si", "Si"), [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "F-43m": crystal(FCC, ("Zn", "S"), [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "P3_121": crystal(HEXAGONAL, ("Se",) * 3, [[U, 0, 1 / 3], [0, U, 2 / 3], [1 - U, 1 - U, 0]]),
    "P2_1/c-like": crystal(
        MONOCLINIC, ("S",) * 4, [[0.1, 0.2, 0.3], [0.9, 0.7, 0.2], [0.9, 0.8, 0.7], [0.1, 0.3, 0.8]]
    ),
    "P1": crystal(MONOCLINIC + 0.1, ("S", "O", "C"), [[0, 0, 0], [0.2, 0.3, 0.5], [0.6, 0.15, 0.35]]),
}
DIRECTIONS = np.concatenate([AXES, BISECTORS])
EXPECTED = {  # first equivalent direction of x, y, z, xy, yz, zx; number of channels
    "Fd-3m": ([0, 0, 0, 0, 0, 0], 1),
    "F-43m": ([0, 0, 0, 0, 0, 0], 1),
    "P3_121": ([0, 0, 2, 0, 4, 4], 3),
    "P2_1/c-like": ([0, 1, 2, 3, 4, 5], 3),
    "P1": ([0, 1, 2, 3, 4, 5], 1),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[str, Operations, GVectors]:
    one = CASES[request.param]
    group = space_group(one)
    reciprocal = 2 * np.pi * np.linalg.inv(one.lattice / 0.529).T
    gvectors = shells_up_to((0, 2000, 4000), symmetric_metric(reciprocal, group.point_group))
    return request.param, operations(group, one.lattice), gvectors


def average_over_group(
    ops: Operations, gvectors: GVectors, head: np.ndarray, density: np.ndarray
) -> np.ndarray:
    """sum over all S and time reversal of |x><x| in plane waves, head vector last three."""
    index = {tuple(m): i for i, m in enumerate(gvectors.millers.tolist())}
    total = np.zeros((len(density) + 2, len(density) + 2), dtype=complex)
    for w, t, r in zip(ops.rotations, ops.translations, ops.cartesian, strict=True):
        turned = np.rint(gvectors.millers @ np.linalg.inv(w)).astype(int)
        to = [index[tuple(m)] for m in turned.tolist()]
        image = np.zeros_like(density)
        image[to] = density * np.exp(2j * np.pi * turned @ t)
        minus = [index[tuple(m)] for m in (-gvectors.millers).tolist()]
        for h, rho in ((r @ head, image), (-(r @ head).conj(), image[minus].conj())):
            # <c|e^{iG.r}|v>/|G| of the body, and rho(q)/q = h along q for the head.
            x = np.concatenate([rho[1:] / gvectors.lengths[1:], h])
            total += np.outer(x.conj(), x) / (2 * len(ops.rotations))
    return total


def test_channels_hold_what_the_group_average_couples(case: tuple[str, Operations, GVectors]) -> None:
    name, ops, gvectors = case
    first, n_channels = EXPECTED[name]
    assert equivalent_directions(ops, DIRECTIONS) == first
    parts = channels(ops, gvectors, DIRECTIONS)
    assert len(parts) == n_channels
    rng = np.random.default_rng(7)
    n_g = len(gvectors.millers)
    density = rng.normal(size=n_g) + 1j * rng.normal(size=n_g)
    head = rng.normal(size=3) + 1j * rng.normal(size=3)
    full = average_over_group(ops, gvectors, head, density)
    for part in parts:
        n_cosets, n_heads, _ = part.heads.shape
        for step, n in enumerate(part.n_functions):
            h = -1j * np.einsum("cax,x->ca", part.heads, head)
            blocks = [density[block.members] @ block.matrix for block in part.blocks]
            b = np.concatenate([block.reshape(n_cosets, -1) for block in blocks], axis=1)[:, :n]
            x = np.concatenate([h, b], axis=1)
            ours = np.eye(n_heads + n) + (x.conj().T @ x).real / n_cosets
            body = gvectors.n_g[step] - 1
            for i, direction in enumerate(part.directions):
                # G vectors of this Gmax, then the field along the direction.
                onto = np.zeros((n_g + 2, body + 1))
                onto[range(body), range(body)] = 1
                onto[n_g - 1 :, -1] = DIRECTIONS[direction]
                expected = np.eye(body + 1) + onto.T @ full @ onto
                only = [i, *range(n_heads, n_heads + n)]
                schur = 1 / np.linalg.inv(ours[np.ix_(only, only)])[0, 0]
                assert schur == pytest.approx(1 / np.linalg.inv(expected)[-1, -1].real, rel=1e-5)


def test_cubic_symmetry_makes_the_body_small() -> None:
    one = CASES["Fd-3m"]
    group = space_group(one)
    reciprocal = 2 * np.pi * np.linalg.inv(one.lattice / 0.529).T
    gvectors = shells_up_to((0, 10000), symmetric_metric(reciprocal, group.point_group))
    (part,) = channels(operations(group, one.lattice), gvectors, AXES)
    assert gvectors.n_g == (1, 169)
    assert part.n_functions[-1] <= 30
    assert part.heads.shape == (3, 1, 3)
