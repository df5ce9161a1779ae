"""From a ground state to spectra: bands on a grid, the response, and denser grids until they agree."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from farm.crystal import Crystal
from farm.kpoints import FloatArray, IntArray, SpaceGroup, grid_divisions, shifted_grid, space_group
from farm.spectrum import similarity_coefficient
from workers.reduced_basis.bands import BandsRequest, Progress, ReducedBands, compute_bands
from workers.reduced_basis.grid_energy import energy_change_ev
from workers.reduced_basis.inversion import with_centre_at_origin
from workers.reduced_basis.path import BandPath
from workers.reduced_basis.training import BandTolerance
from workers.rpa.response import Response, ResponseRequest, response_of
from workers.rpa.save import Save
from workers.rpa.upf import Pseudopotential

Divisions = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class GridRequest:
    """Which k-points, which bands.

    kppa:       k-points times atoms of the first grid, each division rounded up to even
    kshift:     of the grid, crystal coordinates
    basis:      the cell that the grid is for: rows are the vectors of the save's cell in its vectors
    n_bands:    first guess of the number of bands
    window_ev:  bands reach at least this high above the valence band maximum
    metal_gap_ev: an indirect gap below this is a metal's: no response is computed
    path:       of the band structure; None: there is none
    similarity: SC that the spectra of two grids must reach; None: the first grid is the last
    kppa_max:   no grid is denser
    energy_grids: grids of the ground state, of the save's cell, between which the change of the total
                energy is wanted
    """

    kppa: int
    kshift: tuple[float, float, float]
    basis: IntArray
    n_bands: int
    window_ev: float
    metal_gap_ev: float
    tolerance: BandTolerance
    path: BandPath | None = None
    similarity: float | None = None
    kppa_max: int = 0
    energy_grids: tuple[Divisions, Divisions] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class GridResult:
    """What one grid gave.

    similarity: SC of the grid before to this one, x, y, z, at the largest Gmax; None for the first
    response:   None for a metal
    """

    divisions: Divisions
    bands: ReducedBands
    response: Response | None
    similarity: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectra:
    """The grids, from coarse to dense; the last one counts.

    bands_cpu_s: CPU seconds that went into bands, of all grids
    converged:   whether the last two grids agreed; None where that was not asked
    energy_change_ev: of the cell, between the two ``energy_grids``
    """

    grids: tuple[GridResult, ...]
    bands_cpu_s: float
    converged: bool | None
    energy_change_ev: float | None = None


def compute_spectra(
    ground_state: Save,
    pseudos: dict[str, Pseudopotential],
    potential: FloatArray,
    request: GridRequest,
    response_request: ResponseRequest,
    *,
    on_progress: Progress | None = None,
) -> Spectra:
    """Bands and response on the grid of ``request``, and on grids twice as dense until both agree.

    Raises what :func:`workers.reduced_basis.bands.compute_bands` and
    :func:`workers.rpa.response.response_of` raise.
    """
    crystal = ground_state.crystal()
    ground_state, potential, group = with_centre_at_origin(ground_state, potential, space_group(crystal))
    lattice = np.linalg.inv(request.basis) @ crystal.lattice
    divisions = grid_divisions(
        replace(crystal, lattice_angstrom=tuple(map(tuple, lattice.tolist()))), request.kppa, even=True
    )
    grids: list[GridResult] = []
    bands_cpu_s, converged, change_ev = 0.0, None, None
    while converged is None:
        start = time.process_time()
        bands = _bands(ground_state, pseudos, potential, group, divisions, request, grids, on_progress)
        if request.energy_grids is not None and not grids:
            change_ev = energy_change_ev(
                bands.trained.basis,
                request.energy_grids,
                ground_state.reciprocal,
                group.point_group,
                ground_state.n_valence[0],
            )
        bands_cpu_s += time.process_time() - start
        response = None
        if bands.save.gap_indirect_ev >= request.metal_gap_ev:
            response = response_of(
                bands.save,
                pseudos,
                response_request,
                group,
                wavefunctions=bands.wavefunctions,
                on_progress=on_progress,
            )
        similarity = _similarity(grids[-1].response, response) if grids else None
        grids.append(GridResult(divisions=divisions, bands=bands, response=response, similarity=similarity))
        if request.similarity is None or response is None:
            break
        if similarity is not None and min(similarity) > request.similarity:
            converged = True
        divisions = _doubled(divisions)
        if converged is None and _kppa(divisions, crystal) > request.kppa_max:
            converged = False
    return Spectra(
        grids=tuple(grids), bands_cpu_s=bands_cpu_s, converged=converged, energy_change_ev=change_ev
    )


def _bands(
    ground_state: Save,
    pseudos: dict[str, Pseudopotential],
    potential: FloatArray,
    group: SpaceGroup,
    divisions: Divisions,
    request: GridRequest,
    before: list[GridResult],
    on_progress: Progress | None,
) -> ReducedBands:
    wanted = BandsRequest(
        grid=shifted_grid(divisions, request.kshift) @ request.basis.T,
        n_bands=request.n_bands,
        window_ev=request.window_ev,
        tolerance=request.tolerance,
        path=np.zeros((0, 3)) if request.path is None else request.path.kpoints,
    )
    if before:
        # What the basis of the coarser grid was made of is good here, too.
        last = before[-1].bands.trained
        wanted = replace(wanted, n_bands=last.samples[0].energies.size)
        known = last.samples
    else:
        known = ()
    return compute_bands(
        ground_state, pseudos, potential, group, wanted, known=known, on_progress=on_progress
    )


def _similarity(coarse: Response | None, dense: Response | None) -> tuple[float, float, float] | None:
    if coarse is None or dense is None:
        return None
    x, y, z = (
        similarity_coefficient(old.imag, new.imag, dense.energies_ev)
        for old, new in zip(coarse.eps[-1], dense.eps[-1], strict=True)
    )
    return float(x), float(y), float(z)


def _doubled(divisions: Divisions) -> Divisions:
    return 2 * divisions[0], 2 * divisions[1], 2 * divisions[2]


def _kppa(divisions: Divisions, crystal: Crystal) -> int:
    return int(np.prod(divisions)) * crystal.n_atoms
