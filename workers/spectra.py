"""The response of one job as it comes from the solver: read, checked, and cut to its ladder."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farm.bandstructure import BandStructure
from farm.compact_cell import CompactCell
from farm.errors import CalculationError, InputError
from farm.protocol import Protocol
from farm.result import LadderStep
from farm.spectrum import DIRECTIONS, energy_grid_ev
from workers.history import BandAccuracy, BandsDone, ResponseDone, SpectraDone
from workers.plausibility import implausible

_GRID_TOLERANCE_EV = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseData:
    """What the solver wrote.

    energies_ev: shape ``(n_energies,)``
    gmax_mry:    asked-for cutoffs of the response block, ascending, 0 first
    n_g:         G vectors in each block
    eps:         complex, shape ``(n_gmax, 3, n_energies)``
    peak_memory_mb: as the solver saw it
    """

    energies_ev: NDArray[np.float64]
    gmax_mry: tuple[int, ...]
    n_g: tuple[int, ...]
    eps: NDArray[np.complex128]
    peak_memory_mb: float


def load_response(path: Path) -> ResponseData:
    """Read the solver's file. Raises CalculationError when it is absent or incomplete."""
    try:
        # Opened here: np.load leaves the file open when it holds no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return ResponseData(
                energies_ev=np.asarray(data["energies_ev"], dtype=np.float64),
                gmax_mry=tuple(int(value) for value in data["gmax_mry"]),
                n_g=tuple(int(value) for value in data["n_g"]),
                eps=np.asarray(data["eps_real"] + 1j * data["eps_imag"], dtype=np.complex128),
                peak_memory_mb=float(data["peak_memory_mb"]),
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CalculationError(f"response: {path.name} is not complete: {error!r}") from error


def load_spectra(path: Path) -> SpectraDone:
    """What the process says of its bands, without the response.

    Raises CalculationError when the file is absent or incomplete.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            similarity = tuple(float(value) for value in data["kgrid_similarity"])
            return SpectraDone(
                bands=BandsDone(
                    gap_indirect_ev=float(data["gap_indirect_ev"]),
                    gap_direct_ev=float(data["gap_direct_ev"]),
                    top_ev=float(data["top_band_min_above_vbm_ev"]),
                ),
                accuracy=BandAccuracy(
                    window_error_mev=float(data["bands_window_error_mev"]),
                    top_error_mev=float(data["bands_top_error_mev"]),
                    pw_error_mev=float(data["bands_pw_error_mev"]),
                    n_functions=int(data["n_basis_functions"]),
                    n_samples=int(data["n_basis_samples"]),
                ),
                nbnd=int(data["n_bands"]),
                kgrids=tuple((int(a), int(b), int(c)) for a, b, c in data["kgrids"]),
                n_kpoints=int(data["n_kpoints_used"]),
                kgrid_similarity=(similarity[0], similarity[1], similarity[2]) if similarity else None,
                kgrid_converged=bool(data["kgrid_converged"]) if "kgrid_converged" in data else None,
                bands_cpu_s=float(data["bands_cpu_seconds"]),
                response=None,
                energy_change_ev=float(data["energy_change_ev"]) if "energy_change_ev" in data else None,
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CalculationError(f"spectra: {path.name} is not complete: {error!r}") from error


def load_band_structure(path: Path, cell: CompactCell) -> BandStructure | None:
    """The band structure in the process' file, None where the protocol wanted none.

    cell: which was computed; k-points are given in the reciprocal vectors of the crystal's own

    Raises CalculationError when the file is absent or incomplete.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            if "path_labels" not in data:
                return None
            return BandStructure(
                labels=tuple(str(label) for label in data["path_labels"]),
                corners=tuple(int(corner) for corner in data["path_corners"]),
                kpoints=cell.kpoints_back(np.asarray(data["path_kpoints"], dtype=np.float64)),
                distances=np.asarray(data["path_distances_per_angstrom"], dtype=np.float64),
                energies_ev=np.asarray(data["path_energies_ev"], dtype=np.float64),
                n_valence=int(data["n_valence"][0]),
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise CalculationError(f"spectra: {path.name} is not complete: {error!r}") from error


def fault(data: ResponseData, protocol: Protocol, *, whole_ladder: bool = True) -> str | None:
    """What makes a response unbelievable, in words; None when it passes.

    whole_ladder: every rung has to be there, not only the first ones

    Checked: shapes, the exact energy grid, every cutoff, finite numbers, Im eps not below -1 % of its
    maximum, Re eps(0) >= 1 per direction.
    """
    grid = energy_grid_ev(protocol.n_energies, protocol.energy_max_ev)
    if data.energies_ev.shape != grid.shape or np.abs(data.energies_ev - grid).max() > _GRID_TOLERANCE_EV:
        return "the energy grid is not the protocol's"
    rungs = protocol.gmax_mry if whole_ladder else protocol.gmax_mry[: max(len(data.gmax_mry), 2)]
    if data.gmax_mry != rungs or len(data.n_g) != len(data.gmax_mry):
        return f"local-field cutoffs {list(data.gmax_mry)} mRy are not the protocol's"
    if data.eps.shape != (len(data.gmax_mry), 3, grid.size):
        return f"eps has shape {data.eps.shape}"
    if not np.isfinite(data.eps).all():
        return "eps holds numbers that are not finite"
    for gmax, step in zip(data.gmax_mry, data.eps, strict=True):
        for direction, eps in zip(DIRECTIONS, step, strict=True):
            if wrong := implausible(eps):
                return f"along {direction} at {gmax} mRy: {wrong}"
    return None


def ladder_steps(
    data: ResponseData,
    step_similarity: Sequence[Sequence[float]],
    converged_gmax_mry: Sequence[int | None],
) -> tuple[LadderStep, ...]:
    """The steps to keep: up to the largest converged cutoff, all where a direction is not converged.

    step_similarity: SC of each step against the one before, shape ``(n_gmax - 1, 3)``; none for IPA alone
    """
    reached = [gmax for gmax in converged_gmax_mry if gmax is not None]
    last = max(reached) if len(reached) == len(DIRECTIONS) else data.gmax_mry[-1]
    steps = []
    for i, gmax in enumerate(data.gmax_mry):
        # A ladder with local fields holds at least IPA and one RPA step.
        if gmax > last and i > 1:
            break
        similarity = None
        if i:
            x, y, z = (float(value) for value in step_similarity[i - 1])
            similarity = (x, y, z)
        steps.append(
            LadderStep(gmax_mry=gmax, n_g=data.n_g[i], step_similarity=similarity, eps=data.eps[i])
        )
    return tuple(steps)


def response_done(
    data: ResponseData,
    step_similarity: Sequence[Sequence[float]],
    converged_gmax_mry: Sequence[int | None],
) -> ResponseDone:
    """The summary that the pipeline decides on."""
    x, y, z = converged_gmax_mry
    last = None
    if len(data.gmax_mry) > 1:
        last_x, last_y, last_z = (float(value) for value in step_similarity[-1])
        last = (last_x, last_y, last_z)
    return ResponseDone(converged_gmax_mry=(x, y, z), last_gmax_mry=data.gmax_mry[-1], last_similarity=last)
