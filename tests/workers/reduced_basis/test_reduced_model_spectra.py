"""Spectra of models without pw.x: grids that are doubled, metals, progress."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from model_crystals import SHIFT, Model, free_electrons, silicon

from farm.kpoints import shifted_grid
from workers.reduced_basis.path import BandPath
from workers.reduced_basis.spectra import GridRequest, Spectra, compute_spectra
from workers.reduced_basis.training import BandTolerance
from workers.rpa.response import ResponseRequest

REQUEST = GridRequest(
    kppa=16,
    kshift=SHIFT,
    basis=np.eye(3, dtype=np.int64),
    n_bands=8,
    window_ev=8.0,
    metal_gap_ev=0.05,
    tolerance=BandTolerance(),
    path=BandPath(
        kpoints=np.array([[0.0, 0, 0], [0.5, 0, 0.5]]),
        distances=np.zeros(2),
        corners=(0, 1),
        labels=("GAMMA", "X"),
    ),
)


@pytest.fixture(scope="module")
def si() -> Model:
    return silicon()


def spectra(model: Model, request: GridRequest, told: list[tuple[int, int]] | None = None) -> Spectra:
    wanted = ResponseRequest(gmax_mry=(0, 2000), energies_ev=np.linspace(0, 8, 81), damping_ev=0.3)
    tell = None if told is None else lambda done, of: told.append((done, of))
    return compute_spectra(model.save, {}, model.potential, request, wanted, on_progress=tell)


def test_a_metal_has_bands_and_no_response() -> None:
    model = free_electrons()
    result = spectra(model, replace(REQUEST, similarity=0.5, kppa_max=1000))
    (only,) = result.grids
    assert only.response is None
    assert only.similarity is None
    assert only.bands.save.gap_indirect_ev < 0
    assert only.bands.path_energies.shape == (2, only.bands.save.n_bands)
    assert result.converged is None


def test_gap_below_the_smallest_is_a_metal(si: Model) -> None:
    gap = si.bands(shifted_grid((2, 2, 2), SHIFT), 8).save.gap_indirect_ev
    assert gap > 0.5
    for metal_gap_ev, is_metal in ((gap - 0.01, False), (gap + 0.01, True)):
        result = spectra(si, replace(REQUEST, metal_gap_ev=metal_gap_ev))
        assert (result.grids[-1].response is None) is is_metal


def test_grids_are_doubled_until_spectra_agree(si: Model) -> None:
    asked = replace(REQUEST, similarity=0.6, kppa_max=10**6)
    result = spectra(si, asked)
    divisions = [grid.divisions for grid in result.grids]
    assert divisions[0] == (2, 2, 2)
    assert all(b == tuple(2 * n for n in a) for a, b in pairwise(divisions))
    assert result.converged is True
    for grid in result.grids[1:-1]:
        assert grid.similarity is not None
        assert min(grid.similarity) <= 0.6
    last = result.grids[-1]
    assert last.similarity is not None
    assert min(last.similarity) > 0.6
    # Spectra of the last two; the denser is the reference.
    old, new = (grid.response.eps[-1].imag for grid in result.grids[-2:] if grid.response is not None)
    energies_ev = np.linspace(0, 8, 81)
    change, norm = (np.trapezoid(np.abs(eps), energies_ev) for eps in (old - new, new))
    assert last.similarity == pytest.approx(1 - change / norm, abs=1e-9)
    assert result.bands_cpu_s > 0


def test_grids_end_at_the_densest_allowed(si: Model) -> None:
    for kppa_max, n_grids in ((16, 1), (127, 1), (128, 2), (1023, 2)):
        result = spectra(si, replace(REQUEST, similarity=0.9999, kppa_max=kppa_max))
        assert len(result.grids) == n_grids
        assert result.converged is False


def test_spectra_of_a_later_grid_are_those_of_that_grid(si: Model) -> None:
    doubled = spectra(si, replace(REQUEST, similarity=0.9999, kppa_max=128)).grids[-1]
    alone = spectra(si, replace(REQUEST, kppa=128)).grids[-1]
    assert doubled.divisions == alone.divisions == (4, 4, 4)
    assert doubled.response is not None
    assert alone.response is not None
    assert doubled.bands.save.n_bands == alone.bands.save.n_bands
    scale = np.abs(alone.response.eps).max()
    assert np.abs(doubled.response.eps - alone.response.eps).max() < 2e-3 * scale


def test_progress_counts_the_points(si: Model) -> None:
    told: list[tuple[int, int]] = []
    spectra(si, replace(REQUEST, path=None), told)
    n_k = len(si.bands(shifted_grid((2, 2, 2), SHIFT), 8).save.kpoints)
    # Once for the bands, once for the response.
    assert told == 2 * [(i, n_k) for i in range(1, n_k + 1)]
