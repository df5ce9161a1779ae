"""H(k) of a ground state against the eigenvalues of pw.x, and the iteration that finds its lowest ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
from ground_states import CASES, FACE, GENERIC, GroundState

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray
from farm.units import HARTREE_EV
from workers.reduced_basis.davidson import Eigenstates, estimated_errors, first_guess, solve_lowest
from workers.reduced_basis.hamiltonian import Hamiltonian, PointHamiltonian
from workers.reduced_basis.inversion import with_centre_at_origin

MEV = 1000 * HARTREE_EV

StateOf = Callable[[str], GroundState]


def hamiltonian_of(state: GroundState) -> Hamiltonian:
    return Hamiltonian(state.save, state.pseudos, state.potential)


def dense(point: PointHamiltonian) -> ComplexArray:
    """The matrix of H, column by column."""
    columns = point.apply(np.eye(len(point.millers), dtype=point.crystal.dtype))
    return columns.T.astype(np.complex128)


def lowest(point: PointHamiltonian, n_bands: int) -> FloatArray:
    values: FloatArray = scipy.linalg.eigh(
        dense(point), eigvals_only=True, subset_by_index=[0, n_bands - 1]
    )
    return values


@pytest.mark.parametrize("name", list(CASES))
def test_eigenvalues_are_those_of_pw(ground_state: StateOf, name: str) -> None:
    state = ground_state(name)
    hamiltonian, pw = hamiltonian_of(state), state.more
    for i, kpoint in enumerate(pw.kpoints):
        point = hamiltonian.at(kpoint)
        assert len(point.millers) == pw.n_plane_waves[i]
        # 0.002 to 0.02 meV, single precision.
        assert np.abs(lowest(point, pw.n_bands) - pw.eigenvalues[0, i]).max() * MEV < 0.1


@pytest.mark.parametrize("name", ["diamond", "h-BN", "Se", "LiI"])
def test_matrix_is_hermitian_and_that_of_the_two_ways(ground_state: StateOf, name: str) -> None:
    point = hamiltonian_of(ground_state(name)).at(np.array(GENERIC))
    matrix = dense(point)
    assert np.abs(matrix - matrix.conj().T).max() < 1e-6
    # V by Fourier transforms of the states, and V(G - G') from a table.
    order, table = point.in_lowest(len(point.millers))
    assert np.abs(matrix[np.ix_(order, order)] - table).max() < 3e-6
    assert np.all(np.diff(point.kinetic[order]) >= 0)


@pytest.mark.parametrize("name", ["diamond", "h-BN", "LiI"])
def test_waves_of_other_points_change_nothing_within_the_sphere(ground_state: StateOf, name: str) -> None:
    hamiltonian = hamiltonian_of(ground_state(name))
    kpoints = np.array([GENERIC, FACE])
    union = hamiltonian.union_of_spheres(kpoints)
    for kpoint in kpoints:
        small, large = hamiltonian.at(kpoint), hamiltonian.at(kpoint, union)
        inside = large.kinetic < hamiltonian.cutoff
        assert len(union) > np.count_nonzero(inside)
        assert np.array_equal(union[inside], small.millers)
        cut = dense(large)[np.ix_(inside, inside)]
        assert np.abs(cut - dense(small)).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "is_real"),
    [("h-BN", True), ("LiF", True), ("N2", True), ("LiI", True), ("Se", False), ("InN", False)],
)
def test_real_where_the_origin_is_a_centre(ground_state: StateOf, name: str, is_real: bool) -> None:
    assert hamiltonian_of(ground_state(name)).is_real is is_real


@pytest.mark.parametrize(
    ("name", "largest_mev"),
    # Both centres lie between points of the mesh. On a mesh that cuts products of waves, what comes back on
    # the other side has another sign then: 0.3 meV at Gamma.
    [("diamond", 0.1), ("LiF, small mesh, off centre", 1.0)],
)
def test_crystal_moved_to_its_centre(ground_state: StateOf, name: str, largest_mev: float) -> None:
    state = ground_state(name)
    assert not hamiltonian_of(state).is_real
    save, potential, group = with_centre_at_origin(state.save, state.potential, state.group)
    hamiltonian = Hamiltonian(save, state.pseudos, potential)
    assert hamiltonian.is_real
    assert np.array_equal(group.rotations, state.group.rotations)
    for kpoint, energies in zip(state.more.kpoints, state.more.eigenvalues[0], strict=True):
        found = lowest(hamiltonian.at(kpoint), state.more.n_bands)
        assert np.abs(found - energies).max() * MEV < largest_mev


def test_the_non_local_part_counts(ground_state: StateOf) -> None:
    # The agreement with pw.x tells something of it: without the d channel of In, 1 eV and more.
    state = ground_state("InN")
    indium = state.pseudos["In"]
    keep = [i for i, l_value in enumerate(indium.angular) if l_value != 2]
    cut = replace(
        indium,
        angular=tuple(indium.angular[i] for i in keep),
        beta=indium.beta[keep],
        d_ij=indium.d_ij[np.ix_(keep, keep)],
    )
    hamiltonian = Hamiltonian(state.save, {**state.pseudos, "In": cut}, state.potential)
    found = lowest(hamiltonian.at(state.more.kpoints[0]), state.more.n_bands)
    assert np.abs(found - state.more.eigenvalues[0, 0]).max() * MEV > 1000


@pytest.mark.parametrize("name", ["diamond", "h-BN", "Se", "LiI"])
def test_iteration_finds_the_lowest_bands(ground_state: StateOf, name: str) -> None:
    point = hamiltonian_of(ground_state(name)).at(np.array(GENERIC))
    n_wanted, tolerance = 12, 1e-6
    exact = lowest(point, n_wanted + 4)
    found = solve_lowest(point, first_guess(point, n_wanted + 4), n_wanted, tolerance)
    # Estimates, and single precision: 3e-7.
    assert np.abs(found.energies[:n_wanted] - exact[:n_wanted]).max() < tolerance + 1e-6
    overlaps = found.coefficients.conj() @ found.coefficients.T
    assert np.abs(overlaps - np.eye(n_wanted + 4)).max() < 1e-5
    residual = point.apply(found.coefficients) - found.energies[:, None] * found.coefficients
    assert np.linalg.norm(residual[:n_wanted], axis=1).max() < 3e-3


def test_iteration_from_a_bad_guess(ground_state: StateOf) -> None:
    # Random numbers have something of every band, degenerate ones at Gamma included.
    point = hamiltonian_of(ground_state("diamond")).at(np.zeros(3))
    random = np.random.default_rng(1).normal(size=(14, len(point.millers))).astype(point.crystal.dtype)
    found = solve_lowest(point, random, 10, 1e-6)
    assert np.abs(found.energies[:10] - lowest(point, 10)).max() < 2e-6


@pytest.mark.parametrize("name", ["diamond", "h-BN", "Se", "LiI"])
def test_estimated_errors_are_the_errors(ground_state: StateOf, name: str) -> None:
    """Of the lowest states among nine tenths of the plane waves."""
    point = hamiltonian_of(ground_state(name)).at(np.array(GENERIC))
    n_bands, matrix = 10, dense(point)
    few = np.flatnonzero(point.kinetic < 0.9 * point.crystal.cutoff)
    among = matrix[np.ix_(few, few)]
    if point.crystal.is_real:
        assert np.abs(among.imag).max() == 0
        among = among.real
    energies, states = scipy.linalg.eigh(among, subset_by_index=[0, n_bands - 1])
    coefficients = np.zeros((n_bands, len(point.millers)), dtype=point.crystal.dtype)
    coefficients[:, few] = states.T
    true = energies - lowest(point, n_bands)
    assert true.min() * MEV > 1
    estimated = estimated_errors(point, Eigenstates(energies, coefficients))
    # 0.87 to 1.01: the estimate leaves out the potential between the waves that are lacking.
    assert np.all((estimated > 0.8 * true) & (estimated < 1.1 * true))
