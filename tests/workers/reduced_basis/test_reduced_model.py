"""Bands of models without pw.x: windows, retries, samples of another grid, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from model_crystals import (
    FCC,
    SHIFT,
    SILICON,
    Model,
    empty_save,
    form_factors,
    free_electrons,
    on_mesh,
    silicon,
)

from farm.crystal import Crystal
from farm.errors import CalculationError
from farm.kpoints import FloatArray, shifted_grid
from farm.units import BOHR_ANGSTROM, HARTREE_EV
from workers.reduced_basis.hamiltonian import Hamiltonian
from workers.reduced_basis.inversion import is_centred, with_centre_at_origin
from workers.reduced_basis.training import BandTolerance

GRID = shifted_grid((4, 4, 4), SHIFT)


@pytest.fixture(scope="module")
def si() -> Model:
    return silicon()


def worst_ev(model: Model, kpoints: FloatArray, energies: FloatArray) -> float:
    return float(np.abs(energies - model.exact(kpoints, energies.shape[1])).max()) * HARTREE_EV


def reached_ev(model: Model, kpoints: FloatArray, n_bands: int) -> FloatArray:
    """How high above the valence band maximum 1, 2, ... bands reach at every k-point."""
    energies = model.exact(kpoints, n_bands)
    found: FloatArray = (energies.min(axis=0) - energies[:, 3].max()) * HARTREE_EV
    return found


def test_silicon_is_silicon(si: Model) -> None:
    # Cohen and Bergstresser: Gamma25' to Gamma15 3.4 eV, X1 0.8 eV above Gamma25'.
    gamma, x = si.exact(np.array([[0, 0, 0], [0.5, 0, 0.5]]), 8) * HARTREE_EV
    assert np.ptp(gamma[1:4]) < 1e-4
    assert gamma[4] - gamma[3] == pytest.approx(3.4, abs=0.2)
    assert x[4] - gamma[3] == pytest.approx(0.8, abs=0.2)


@pytest.mark.parametrize("make", [silicon, free_electrons])
def test_bands_are_those_of_plane_waves(make: type[Model]) -> None:
    model = make()
    found = model.bands(GRID, 8)
    assert found.pw_error_ev < 1e-4
    assert worst_ev(model, found.save.kpoints, found.save.eigenvalues[0]) < 0.005
    assert found.trained.window_error_ev < 0.005


def test_free_electrons_are_free() -> None:
    level = -0.2
    model = free_electrons(level)
    found = model.bands(GRID, 8).save
    millers = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    squares = (((found.kpoints + millers) @ found.reciprocal) ** 2).sum(axis=-1).T
    exact = np.sort(squares, axis=1)[:, :8] / 2 + level
    assert np.abs(found.eigenvalues[0] - exact).max() * HARTREE_EV < 0.005


def test_states_are_orthonormal_within_the_sphere(si: Model) -> None:
    found = si.bands(GRID, 8)
    for i in (0, 7, len(found.save.kpoints) - 1):
        waves = found.wavefunctions(i)
        assert len(waves.millers) == found.save.n_plane_waves[i]
        assert np.array_equal(waves.kpoint, found.save.kpoints[i])
        c = waves.coefficients.astype(np.complex128)
        assert np.abs(c.conj() @ c.T - np.eye(8)).max() < 1e-5
        assert np.array_equal(
            np.sort(waves.millers, axis=0), np.sort(si.hamiltonian.sphere(waves.kpoint)[0], 0)
        )
    with pytest.raises(IndexError, match="one spin channel"):
        found.wavefunctions(0, 1)


@pytest.mark.parametrize("first_guess", [5, 9, 30])
@pytest.mark.parametrize("window_ev", [8.0, 14.0])
def test_the_fewest_bands_that_reach_the_window(si: Model, first_guess: int, window_ev: float) -> None:
    found = si.bands(GRID, first_guess, window_ev)
    reached = reached_ev(si, found.save.kpoints, 40)
    assert reached[found.save.n_bands - 1] >= window_ev - 0.005
    assert reached[found.save.n_bands - 2] < window_ev + 0.005
    assert found.save.top_band_min_above_vbm_ev >= window_ev
    assert worst_ev(si, found.save.kpoints, found.save.eigenvalues[0]) < 0.010
    # All others stay out of everything.
    assert found.path_energies.shape == (0, found.save.n_bands)
    assert found.wavefunctions(0).coefficients.shape[0] == found.save.n_bands


def test_one_empty_band_at_least(si: Model) -> None:
    assert si.bands(GRID, 8, 0.01).save.n_bands == 5


def test_a_window_beyond_all_plane_waves(si: Model) -> None:
    # The sphere ends at 163 eV, and with it all bands.
    with pytest.raises(CalculationError, match=r"bands do not reach 300\.0 eV|plane waves"):
        si.bands(GRID[:4], 8, 300.0)


def test_a_window_that_is_never_reached_ends(si: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def two_more(n_bands: int, reached_ev: float, window_ev: float) -> int:
        asked.append((n_bands, round(reached_ev, 1), window_ev))
        return n_bands + 2

    monkeypatch.setattr("workers.reduced_basis.bands.enlarge_nbnd", two_more)
    with pytest.raises(CalculationError, match=r"model\.save: .* bands do not reach 60\.0 eV"):
        si.bands(GRID, 6, 60.0)
    assert [n for n, _, _ in asked] == [6, 8, 10, 12]
    assert all(reached < 60.0 == window for _, reached, window in asked)


def test_few_points(si: Model) -> None:
    """Where every point is a sample, the errors are measured at all of them."""
    for n in (1, 2, 5):
        found = si.bands(GRID[:n], 8)
        assert len(found.trained.samples) == len(found.save.kpoints)
        true = worst_ev(si, found.save.kpoints, found.save.eigenvalues[0])
        assert true < 0.005
        assert true < 1.5 * max(found.trained.window_error_ev, found.trained.top_error_ev) + 1e-4


def test_a_smaller_tolerance_is_kept(si: Model) -> None:
    errors = []
    for tolerance_ev in (0.02, 0.005, 0.001):
        found = si.bands(GRID, 8, tolerance=BandTolerance(window_ev=tolerance_ev, top_ev=tolerance_ev))
        errors.append(worst_ev(si, found.save.kpoints, found.save.eigenvalues[0]))
        assert errors[-1] < tolerance_ev
    assert errors[2] < errors[0]


def test_a_tolerance_below_single_precision_is_refused(si: Model) -> None:
    with pytest.raises(CalculationError) as caught:
        si.bands(GRID[:6], 8, tolerance=BandTolerance(window_ev=1e-7, top_ev=1e-7))
    assert "nscf" in caught.value.fix


def test_samples_of_a_coarser_grid(si: Model) -> None:
    coarse, fine = shifted_grid((3, 3, 3), SHIFT), shifted_grid((6, 6, 6), SHIFT)
    known = si.bands(coarse, 8).trained.samples
    anew, again = si.bands(fine, 8), si.bands(fine, 8, known=known)
    assert again.trained.samples[: len(known)] == known
    assert len(again.trained.samples) - len(known) < len(anew.trained.samples)
    for found in (anew, again):
        assert worst_ev(si, found.save.kpoints, found.save.eigenvalues[0]) < 0.005
    assert np.abs(again.save.eigenvalues - anew.save.eigenvalues).max() * HARTREE_EV < 0.005


def test_samples_do_not_help_where_more_bands_are_needed(si: Model) -> None:
    known = si.bands(shifted_grid((3, 3, 3), SHIFT), 6).trained.samples
    found = si.bands(GRID, 6, 14.0, known=known)
    reached = reached_ev(si, found.save.kpoints, 20)
    assert reached[found.save.n_bands - 2] < 14.005 < reached[found.save.n_bands - 1] + 0.01
    assert found.trained.samples[0].energies.size >= found.save.n_bands > 6


@pytest.mark.parametrize("band", [0, 3])
def test_energies_of_another_run(si: Model, band: int) -> None:
    shifted = si.save.eigenvalues.copy()
    shifted[0, 0, band] += 0.0123 / HARTREE_EV
    model = silicon()
    model.save = replace(si.save, eigenvalues=shifted)
    with pytest.raises(
        CalculationError, match=r"model\.save: filled bands differ .* by 12\.3 meV"
    ) as caught:
        model.bands(GRID, 8)
    assert "potential" in caught.value.fix


def test_empty_bands_of_the_ground_state_do_not_matter(si: Model) -> None:
    model = silicon()
    n_k = len(model.save.kpoints)
    empty = np.full((1, n_k, 2), 99.0)
    model.save = replace(model.save, eigenvalues=np.concatenate([model.save.eigenvalues, empty], axis=2))
    found = model.bands(GRID, 8)
    np.testing.assert_array_equal(found.save.eigenvalues, si.bands(GRID, 8).save.eigenvalues)


def test_a_skewed_cell_is_refused_or_right() -> None:
    """Plane waves must not be missed silently: cells that skew more and more, of one lattice."""
    outcomes = set()
    cutoff = 3.5
    for shear in range(6):
        basis = np.array([[1, 0, 0], [shear, 1, 0], [shear, shear, 1]])
        lattice = basis @ np.diag([3.0, 3.3, 3.6])
        cell = Crystal("box", tuple(map(tuple, lattice.tolist())), ("He",), ((0.0, 0.0, 0.0),))
        save = empty_save(cell, cutoff, 1)
        hamiltonian = Hamiltonian(save, {}, np.zeros((24, 24, 24)))
        wide = np.stack(np.meshgrid(*[np.arange(-30, 31)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        # In the first zone of the box; in crystal coordinates of the skewed cell.
        cartesian = np.array([0.49, -0.45, 0.4]) * 2 * np.pi / (np.array([3.0, 3.3, 3.6]) / BOHR_ANGSTROM)
        kpoint = cartesian @ save.lattice.T / (2 * np.pi)
        expected = np.count_nonzero((((kpoint + wide) @ save.reciprocal) ** 2).sum(axis=1) / 2 < cutoff)
        try:
            assert len(hamiltonian.sphere(kpoint)[0]) == expected
            assert len(hamiltonian.union_of_spheres(kpoint[None])) == expected
            outcomes.add("right")
        except CalculationError as error:
            outcomes.add(error.fix)
    assert outcomes == {"right", "Use bands = 'nscf', or a more compact cell of the same lattice"}


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.2, 0.0, 0.4)])
def test_centre_of_inversion(shift: tuple[float, float, float]) -> None:
    """Silicon anywhere in its cell: real where it is centred, and the same bands where it is not."""
    there = replace(SILICON, frac_coords=tuple(tuple(np.add(x, shift) % 1) for x in SILICON.frac_coords))
    model = Model(there, form_factors(there))
    centred = shift == (0.0, 0.0, 0.0)
    assert is_centred(model.group) is centred
    assert model.hamiltonian.is_real is centred
    save, potential, group = with_centre_at_origin(model.save, model.potential, model.group)
    assert is_centred(group)
    hamiltonian = Hamiltonian(save, {}, potential)
    assert hamiltonian.is_real
    kpoints = np.array([[0.11, 0.23, 0.37], [0.5, 0.25, -0.25]])
    moved = replace(there, frac_coords=tuple(map(tuple, save.positions.tolist())))
    np.testing.assert_allclose(on_mesh(form_factors(moved)), potential, atol=1e-9)
    other = Model(there, form_factors(there))
    other.hamiltonian = hamiltonian
    np.testing.assert_allclose(other.exact(kpoints, 8), silicon().exact(kpoints, 8), atol=2e-6)


def test_cell_constants() -> None:
    # The model's own numbers: the mesh holds V(G), and the centre lies between the atoms.
    assert np.allclose(SILICON.lattice, FCC)
    components = form_factors(SILICON)
    assert max(abs(v.imag) for v in components.values()) < 1e-12
    assert len(components) == 8 + 12 + 24
