"""The symmetrised response against the defining sums over explicit stars, and its invariances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import brute_force, distance, local_field_vectors
from decks import (
    SHIFT,
    Deck,
    RunPw,
    boron_nitride,
    fcc,
    full_stars,
    lithium_fluoride_sheared,
    reduced,
    selenium,
)
from scipy.spatial.transform import Rotation

from farm.crystal import Crystal
from farm.kpoints import SpaceGroup, shifted_grid
from workers.rpa.response import Response, ResponseRequest, compute_response, response_of
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials

ENERGIES = np.linspace(0.0, 20.0, 41)
GMAX = 2500
NO_SYMMETRY = SpaceGroup(1, "P1", np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)))


def spectra(save_dir: Path) -> Response:
    return compute_response(save_dir, request())


def request() -> ResponseRequest:
    return ResponseRequest(gmax_mry=(0, GMAX), energies_ev=ENERGIES, damping_ev=0.3)


def runs(run_pw: RunPw, deck: Deck) -> tuple[Path, Path]:
    """The deck on its few points, and on all members of their stars."""
    stars = full_stars(deck.crystal, deck.kpoints)
    everything = replace(deck, kpoints=stars, weights=[1.0] * len(stars))
    return run_pw(deck), run_pw(everything)


CASES = {
    "Se": Deck(
        crystal=selenium(),
        kpoints=np.array([[0.11, 0.23, 0.37]]),
        weights=[1],
        n_bands=14,
        scf_grid=(3, 3, 3),
        cutoff_ry=20,
        system="nr1=27, nr2=27, nr3=27,",
    ),
    "hBN": Deck(
        crystal=boron_nitride(),
        kpoints=np.array([[0.11, 0.23, 0.17]]),
        weights=[1],
        n_bands=14,
        scf_grid=(4, 4, 2),
        cutoff_ry=20,
    ),
    "LiF sheared": Deck(
        crystal=lithium_fluoride_sheared(),
        kpoints=shifted_grid((2, 1, 1), SHIFT),
        weights=[1, 1],
        n_bands=10,
        scf_grid=(2, 2, 2),
    ),
}


@pytest.fixture(scope="module", params=list(CASES))
def pair(request: pytest.FixtureRequest, run_pw: RunPw) -> tuple[Crystal, Path, Path]:
    deck = CASES[request.param]
    return (deck.crystal, *runs(run_pw, deck))


def test_irreducible_points_give_the_sum_over_their_stars(pair: tuple[Crystal, Path, Path]) -> None:
    _, few, all_points = pair
    ours = spectra(few)
    millers = local_field_vectors(few, GMAX)
    assert ours.n_g == (1, len(millers) + 1)
    assert distance(ours.eps[0], brute_force(all_points, millers[:0], ENERGIES, 0.3)) < 2e-4
    assert distance(ours.eps[1], brute_force(all_points, millers, ENERGIES, 0.3)) < 2e-4


def test_full_list_without_symmetry_is_the_same(pair: tuple[Crystal, Path, Path]) -> None:
    _, few, all_points = pair
    save = read_save(all_points)
    without = response_of(save, read_pseudopotentials(save, None), request(), NO_SYMMETRY)
    assert without.n_kpoints_used * 2 == without.n_kpoints  # time reversal halves the list
    assert distance(without.eps, spectra(few).eps) < 2e-4
    # ... and the full list with symmetry folds back to the points it came from.
    assert spectra(all_points).n_kpoints_used == len(read_save(few).kpoints)
    assert distance(spectra(all_points).eps, spectra(few).eps) < 1e-4


def test_cubic_crystal_is_isotropic(diamond_small: Path) -> None:
    eps = spectra(diamond_small).eps
    assert np.array_equal(eps[:, 0], eps[:, 1])
    assert np.array_equal(eps[:, 0], eps[:, 2])


def test_rotated_cell_gives_the_same_spectrum(diamond_small: Path, run_pw: RunPw) -> None:
    crystal = fcc(3.567, ("C", "C"))
    turned = crystal.lattice @ Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix().T
    rows = tuple((float(x), float(y), float(z)) for x, y, z in turned)
    kpoints, weights = reduced(crystal, (2, 2, 2))
    deck = Deck(
        crystal=replace(crystal, lattice_angstrom=rows), kpoints=kpoints, weights=weights, n_bands=30
    )
    # No axis lies along a symmetry axis: 24 cosets instead of 3.
    assert distance(spectra(run_pw(deck)).eps, spectra(diamond_small).eps) < 1e-4


def test_hexagonal_crystal_has_two_different_directions(boron_nitride_small: Path) -> None:
    eps = spectra(boron_nitride_small).eps
    assert np.array_equal(eps[:, 0], eps[:, 1])
    assert distance(eps[:, 0], eps[:, 2]) > 0.1


def test_order_of_atoms_does_not_matter(boron_nitride_small: Path, run_pw: RunPw) -> None:
    deck = Deck(
        crystal=boron_nitride((3, 0, 2, 1)),
        kpoints=shifted_grid((2, 1, 1), SHIFT),
        weights=[1, 1],
        n_bands=14,
        scf_grid=(4, 4, 2),
        cutoff_ry=30,
    )
    assert distance(spectra(run_pw(deck)).eps, spectra(boron_nitride_small).eps) < 1e-4
