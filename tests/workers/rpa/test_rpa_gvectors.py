"""Shells of G and the box of the pair densities."""

from __future__ import annotations

import numpy as np
import pytest

from workers.rpa.device import NumpyDevice
from workers.rpa.gvectors import shells_up_to, symmetric_metric
from workers.rpa.pair_density import PairDensityBox
from workers.rpa.wavefunctions import Wavefunctions

IDENTITY = np.eye(3, dtype=np.int64)[None]


def fcc_metric(edge_angstrom: float) -> np.ndarray:
    half = edge_angstrom / 0.529177 / 2
    lattice = half * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return symmetric_metric(2 * np.pi * np.linalg.inv(lattice).T, IDENTITY)


@pytest.mark.parametrize(
    ("edge", "expected"),  # as YAMBO counts for C, LiF, Si and NaCl
    [(3.567, (1, 9, 27)), (4.027, (1, 9, 27)), (5.43, (1, 27, 51)), (5.69, (1, 27, 59))],
)
def test_gmax_is_rounded_up_to_a_closed_shell(edge: float, expected: tuple[int, ...]) -> None:
    gvectors = shells_up_to((0, 2000, 4000), fcc_metric(edge))
    assert gvectors.n_g == expected
    assert gvectors.millers[0].tolist() == [0, 0, 0]
    assert len(gvectors.millers) == expected[-1]
    assert (np.diff(gvectors.lengths) > -1e-9).all()
    assert (gvectors.millers.sum(axis=0) == 0).all()


def test_a_cell_symmetric_within_tolerance_keeps_whole_shells() -> None:
    cyclic = np.array([np.eye(3), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 0, 1]]]).astype(np.int64)
    half = 5.13
    lattice = half * np.array([[0, 1, 1.0004], [1, 0, 1], [1, 1, 0]])
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T

    def is_closed(rotations: np.ndarray) -> bool:
        gvectors = shells_up_to((0, 2000), symmetric_metric(reciprocal, rotations))
        members = {
            (*m, s) for m, s in zip(gvectors.millers.tolist(), gvectors.shells.tolist(), strict=True)
        }
        turned = {(b, c, a, s) for a, b, c, s in members}
        return turned == members

    assert not is_closed(IDENTITY)
    assert is_closed(cyclic)


def test_pair_densities_are_those_of_plane_wave_sums() -> None:
    rng = np.random.default_rng(5)
    cutoff, lattice = 6.0, np.diag([5.0, 6.0, 7.0])
    axes = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    kpoint = np.array([0.1, -0.2, 0.3])
    squares = (((kpoint + axes) @ np.diag(2 * np.pi / np.diag(lattice))) ** 2).sum(axis=1)
    millers = axes[squares / 2 < cutoff]
    # Smooth functions, as bands are: high plane waves are small.
    decay = np.exp(-0.9 * squares[squares / 2 < cutoff])
    bands = (rng.normal(size=(3, len(millers))) + 1j * rng.normal(size=(3, len(millers)))) * decay
    waves = Wavefunctions(kpoint, millers, bands.astype(np.complex64))
    sphere = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, -1], [0, 0, 2]])
    box = PairDensityBox(NumpyDevice(), lattice, cutoff, kpoint[None], sphere)
    ours = box.pair_densities(waves, 1)
    index = {tuple(m): i for i, m in enumerate(millers.tolist())}
    for i, g in enumerate(sphere):
        pairs = [(index[tuple(m)], j) for j, m in enumerate((millers + g).tolist()) if tuple(m) in index]
        expected = sum(bands[1:, a].conj() * bands[0, b] for a, b in pairs)
        assert ours[:, i] == pytest.approx(expected, abs=1e-5 * np.abs(bands).max() ** 2)
