"""Triclinic, monoclinic and rhombohedral crystals against the defining sums, rotated, moved, doubled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import SIX_DIRECTIONS, brute_force, distance, local_field_vectors, tensor
from decks import Deck, RunPw
from low_symmetry import (
    LOW_SYMMETRY,
    ONE_POINT,
    TWO_POINTS,
    crystal,
    doubled,
    hydrogen_fluoride,
    lithium_fluoride_glide,
    moved,
    sites,
    turned,
)
from scipy.spatial.transform import Rotation

from farm.kpoints import space_group
from workers.rpa.response import Response, ResponseRequest, compute_response
from workers.rpa.save import read_save

ENERGIES = np.linspace(0.0, 20.0, 41)
GMAX = (0, 1000, 2500)

SaveOf = Callable[[str], Path]


def spectra(save_dir: Path, gmax_mry: tuple[int, ...] = GMAX) -> Response:
    request = ResponseRequest(gmax_mry=gmax_mry, energies_ev=ENERGIES, damping_ev=0.3)
    return compute_response(save_dir, request)


@pytest.mark.parametrize("name", list(LOW_SYMMETRY))
def test_response_is_the_sum_over_the_stars(name: str, low_symmetry_save: SaveOf) -> None:
    deck, irreducible = LOW_SYMMETRY[name]
    save_dir = low_symmetry_save(name)
    millers = local_field_vectors(save_dir, GMAX[-1])
    ours = spectra(save_dir)
    assert space_group(deck.crystal).symbol == name
    assert ours.n_kpoints_used == len(irreducible)
    for step, n_g in enumerate(ours.n_g):
        direct = brute_force(save_dir, millers[: n_g - 1], ENERGIES, 0.3)
        for axis in range(3):
            # 2e-5 to 1.1e-4, most of it the binning of a few sharp transitions.
            assert distance(ours.eps[step, axis], direct[axis]) < 3e-4


@pytest.mark.parametrize("name", ["P1", "P2_1", "R3m"])
def test_response_is_a_tensor(name: str, low_symmetry_save: SaveOf, run_pw: RunPw) -> None:
    """x, y, z of a crystal in a rotated frame against the tensor of the original, in both rungs.

    No axis of the rotated frame lies along a symmetry axis, and off-diagonal elements count.
    """
    rotation = Rotation.from_rotvec([0.4, -0.7, 1.1])
    deck, irreducible = LOW_SYMMETRY[name]
    there = replace(deck, crystal=turned(deck.crystal, rotation), kpoints=irreducible)
    ours = spectra(run_pw(replace(there, weights=[1.0] * len(irreducible))))
    original, matrix = low_symmetry_save(name), rotation.as_matrix()
    for step, millers in (
        (0, np.zeros((0, 3), dtype=np.int64)),
        (2, local_field_vectors(original, GMAX[-1])),
    ):
        eps = tensor(brute_force(original, millers, ENERGIES, 0.3, SIX_DIRECTIONS))
        expected = np.einsum("ai,ijw,aj->aw", matrix, eps, matrix)
        for axis in range(3):
            # 1e-4 at most; rotated the other way round 0.2 and more.
            assert distance(ours.eps[step, axis], expected[axis]) < 3e-4


@pytest.mark.parametrize("name", ["R3m", "R-3m"])
def test_cell_symmetric_within_the_tolerance(name: str, low_symmetry_save: SaveOf, run_pw: RunPw) -> None:
    # As lengths and angles of five digits leave it: spglib finds the symmetry all the same.
    deck, irreducible = LOW_SYMMETRY[name]
    strain = np.eye(3) + 2e-5 * np.array([[0.4, 0.7, -0.2], [-0.5, -0.8, 0.6], [0.3, 0.1, 0.9]])
    strained = crystal("strained", deck.crystal.lattice @ strain, sites(deck.crystal))
    there = replace(deck, crystal=strained, kpoints=irreducible, weights=[1.0] * len(irreducible))
    assert space_group(strained).symbol == name
    assert distance(spectra(run_pw(there)).eps, spectra(low_symmetry_save(name)).eps) < 2e-3


def test_uniaxial_crystal_in_a_rotated_frame(low_symmetry_save: SaveOf, run_pw: RunPw) -> None:
    # eps_aa = sin^2 eps_x + cos^2 eps_z with the angle between a and the three-fold axis.
    rotation = Rotation.from_rotvec([-0.9, 0.5, 0.3])
    deck, irreducible = LOW_SYMMETRY["R3m"]
    there = replace(deck, crystal=turned(deck.crystal, rotation), kpoints=irreducible, weights=[1.0])
    ours, original = spectra(run_pw(there)).eps, spectra(low_symmetry_save("R3m")).eps
    cosine2 = rotation.as_matrix()[:, 2] ** 2
    expected = np.einsum("gw,a->gaw", original[:, 0], 1 - cosine2)
    expected += np.einsum("gw,a->gaw", original[:, 2], cosine2)
    assert np.ptp(cosine2) > 0.2
    assert distance(ours, expected) < 5e-5


def test_origin_does_not_matter(run_pw: RunPw) -> None:
    # By whole points of the mesh: between them the exchange-correlation energy is not invariant (1e-3).
    mesh = (20, 24, 20)
    deck = replace(
        LOW_SYMMETRY["P2_1"][0],
        kpoints=TWO_POINTS,
        weights=[1.0, 1.0],
        system="nr1={}, nr2={}, nr3={},".format(*mesh),
    )
    there = moved(hydrogen_fluoride(), (3 / mesh[0], 5 / mesh[1], 7 / mesh[2]))
    # 8e-6: pair densities are in single precision on a box of their own.
    assert distance(spectra(run_pw(replace(deck, crystal=there))).eps, spectra(run_pw(deck)).eps) < 4e-5


def test_supercell_on_folded_points_is_the_same(run_pw: RunPw) -> None:
    """LiF in Pc and with its first cell vector doubled, whose group holds the lost translation.

    Transitions between the two folded points have no matrix elements. 18 bands of both points are the
    36 lowest ones of the supercell (the next is 4 eV above), and Gmax is that of whole shells of the
    small cell: the supercell has shells between them, which a Gmax is rounded up to.
    """
    small = Deck(
        crystal=lithium_fluoride_glide(),
        kpoints=np.add(ONE_POINT, [[0.0, 0, 0], [0.5, 0, 0]]),
        weights=[1.0, 1.0],
        n_bands=18,
        scf_grid=(2, 2, 2),
        system="nr1=20, nr2=20, nr3=24,",
    )
    large = Deck(
        crystal=doubled(small.crystal),
        kpoints=ONE_POINT * [2, 1, 1],
        weights=[1.0],
        n_bands=36,
        scf_grid=(1, 2, 2),
        system="nr1=40, nr2=20, nr3=24,",
    )
    save_dir = run_pw(small)
    vectors = local_field_vectors(save_dir, GMAX[-1]) @ read_save(save_dir).reciprocal
    squares = np.unique(np.floor(1000 * (vectors**2).sum(axis=1)).astype(int))
    gmax = (0, *squares[[0, 2, 4]].tolist())
    ours, folded = spectra(save_dir, gmax), spectra(run_pw(large), gmax)
    assert folded.n_kpoints_used == 1
    assert all(many > few for many, few in zip(folded.n_g[1:], ours.n_g[1:], strict=True))
    assert folded.gap_direct_ev == pytest.approx(ours.gap_direct_ev, abs=1e-5)
    assert distance(ours.eps[3], ours.eps[0]) > 0.05
    # 7e-6
    assert distance(folded.eps, ours.eps) < 3e-5
