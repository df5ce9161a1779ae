"""Collinear spins, off-diagonal elements, YAMBO's weights, the GPU code, the memory limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import SIX_DIRECTIONS, brute_force, distance, local_field_vectors, tensor
from decks import SHIFT, Deck, RunPw, boron_nitride, full_stars
from low_symmetry import crystal

from farm.errors import InputError
from farm.kpoints import shifted_grid, space_group
from workers.rpa.device import TorchDevice
from workers.rpa.response import ResponseRequest, compute_response, response_of
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials
from workers.rpa.weights import count_merged, yambo_rotations, yambo_tolerance

ENERGIES = np.linspace(0.0, 20.0, 41)
GMAX = 2500
REQUEST = ResponseRequest(gmax_mry=(0, GMAX), energies_ev=ENERGIES, damping_ev=0.3)


@pytest.fixture(scope="module")
def boron_nitride_spin(run_pw: RunPw) -> Path:
    """The session's h-BN with nspin = 2 and no magnetisation: every band twice."""
    deck = Deck(
        crystal=boron_nitride(),
        kpoints=np.array([[1 / 64, 2 / 64, 3 / 64], [1 / 2 + 1 / 64, 2 / 64, 3 / 64]]),
        weights=[1, 1],
        n_bands=14,
        scf_grid=(4, 4, 2),
        cutoff_ry=30,
        system="nspin=2, tot_magnetization=0,",
    )
    return run_pw(deck)


def test_spins_without_magnetisation_change_nothing(
    boron_nitride_spin: Path, boron_nitride_small: Path
) -> None:
    save = read_save(boron_nitride_spin)
    assert (save.n_spin, save.n_valence) == (2, (8, 8))
    with_spin, without = (compute_response(d, REQUEST) for d in (boron_nitride_spin, boron_nitride_small))
    assert with_spin.gap_direct_ev == pytest.approx(without.gap_direct_ev, abs=1e-4)
    assert distance(with_spin.eps, without.eps) < 1e-4


def test_a_magnet_is_the_sum_over_both_spins(run_pw: RunPw) -> None:
    """O2 in a box that is far too small, S = 1: seven filled bands up, five down."""
    lattice = np.array([[3.2, 0, 0], [0, 3.2, 0], [0, 0, 4.0]])
    oxygen = crystal("O2", lattice, [("O", (0, 0, 0.15)), ("O", (0, 0, 0.85))])
    deck = Deck(
        crystal=oxygen,
        kpoints=np.array([[0.11, 0.23, 0.17]]),
        weights=[1],
        n_bands=12,
        scf_grid=(1, 1, 1),
        cutoff_ry=24,
        system="nspin=2, tot_magnetization=2, starting_magnetization(1)=0.5,",
    )
    few = run_pw(deck)
    stars = full_stars(oxygen, deck.kpoints)
    everything = run_pw(replace(deck, kpoints=stars, weights=[1.0] * len(stars)))
    save = read_save(few)
    assert save.n_valence == (7, 5)
    direct = brute_force(everything, local_field_vectors(few, GMAX), ENERGIES, 0.3)
    assert distance(compute_response(few, REQUEST).eps[1], direct) < 2e-4


@pytest.mark.parametrize("name", ["P1", "P2_1"])
def test_off_diagonal_elements_are_those_of_the_tensor(
    low_symmetry_save: Callable[[str], Path], name: str
) -> None:
    save_dir = low_symmetry_save(name)
    millers = local_field_vectors(save_dir, GMAX)
    eps = tensor(brute_force(save_dir, millers, ENERGIES, 0.3, SIX_DIRECTIONS))
    ours = compute_response(save_dir, dataclasses.replace(REQUEST, off_diagonal=True))
    assert ours.eps_off_diagonal is not None
    expected = np.stack([eps[0, 1], eps[1, 2], eps[2, 0]])
    assert np.abs(expected).max() > 0.02 * np.abs(eps).max()
    assert np.abs(ours.eps_off_diagonal[1] - expected).max() < 2e-4 * np.abs(eps).max()


def test_off_diagonal_elements_vanish_where_symmetry_says_so(boron_nitride_small: Path) -> None:
    ours = compute_response(boron_nitride_small, dataclasses.replace(REQUEST, off_diagonal=True))
    assert ours.eps_off_diagonal is not None
    assert np.abs(ours.eps_off_diagonal).max() < 1e-5 * np.abs(ours.eps).max()


def test_torch_gives_what_numpy_gives(boron_nitride_small: Path) -> None:
    save = read_save(boron_nitride_small)
    group = space_group(save.crystal())
    pseudos = read_pseudopotentials(save, None)
    by_torch = response_of(save, pseudos, REQUEST, group, device=TorchDevice("cpu"))
    assert distance(by_torch.eps, response_of(save, pseudos, REQUEST, group).eps) < 1e-6


def test_a_memory_limit_costs_precision_not_correctness(boron_nitride_small: Path) -> None:
    free = compute_response(boron_nitride_small, dataclasses.replace(REQUEST, gmax_mry=(0, 10000)))
    tight = dataclasses.replace(REQUEST, gmax_mry=(0, 10000), memory_mb=40.0)
    assert distance(compute_response(boron_nitride_small, tight).eps, free.eps) < 1e-5
    with pytest.raises(InputError, match="MB, 1 MB are allowed") as caught:
        compute_response(boron_nitride_small, dataclasses.replace(tight, memory_mb=1.0))
    assert "--memory-mb" in caught.value.fix


def test_stars_are_counted_as_in_yambos_reports(diamond_small: Path) -> None:
    # r_setup of YAMBO 5.2.4 for Si on these grids; the order of operations is that of pw.x.
    save = read_save(diamond_small)
    rotations = yambo_rotations(save, space_group(save.crystal()))
    assert len(rotations) == 24
    for n, reported in ((2, 74), (4, 2190), (8, 23040)):
        grid = shifted_grid((n, n, n), SHIFT)
        assert count_merged(grid, rotations, yambo_tolerance(grid)).sum() == reported


def test_a_device_that_is_not_there_is_named(boron_nitride_small: Path) -> None:
    with pytest.raises(InputError, match="no device 'tpu'"):
        compute_response(boron_nitride_small, dataclasses.replace(REQUEST, device="tpu"))


def test_lowest_bands_alone_are_those_of_a_run_with_fewer(run_pw: RunPw, boron_nitride_small: Path) -> None:
    few = Deck(
        crystal=boron_nitride(),
        kpoints=np.array([[1 / 64, 2 / 64, 3 / 64], [1 / 2 + 1 / 64, 2 / 64, 3 / 64]]),
        weights=[1, 1],
        n_bands=10,
        scf_grid=(4, 4, 2),
        cutoff_ry=30,
    )
    expected = compute_response(run_pw(few), REQUEST)
    ours = compute_response(boron_nitride_small, replace(REQUEST, bands=10))
    assert (ours.n_bands, expected.n_bands) == (10, 10)
    assert distance(ours.eps, expected.eps) < 1e-4
    assert distance(ours.eps, compute_response(boron_nitride_small, REQUEST).eps) > 1e-3


@pytest.mark.parametrize("bands", [8, 15])
def test_bands_that_are_not_there_are_refused(boron_nitride_small: Path, bands: int) -> None:
    with pytest.raises(InputError, match=f"{bands} bands cannot be used of its 14"):
        compute_response(boron_nitride_small, replace(REQUEST, bands=bands))
