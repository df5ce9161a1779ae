"""What `farm spectra` asks for under a protocol, and what it says of the bands."""

from __future__ import annotations

from typing import Any

import numpy as np

from farm.basis import estimate_nbnd
from farm.kpoints import IntArray
from farm.protocol import Protocol
from farm.spectrum import energy_grid_ev
from farm.units import HARTREE_EV
from workers.reduced_basis.path import BandPath, band_path
from workers.reduced_basis.spectra import GridRequest, Spectra
from workers.reduced_basis.training import BandTolerance
from workers.rpa.response import ResponseRequest
from workers.rpa.save import Save

MEV_PER_EV = 1000.0


def requests(save: Save, protocol: Protocol, grid_basis: IntArray) -> tuple[GridRequest, ResponseRequest]:
    """The k-points and bands, and the response, that a protocol asks for."""
    crystal = save.crystal()
    n_points = protocol.band_path_points
    grid = GridRequest(
        kppa=protocol.response_kppa,
        kshift=protocol.response_kshift,
        basis=grid_basis,
        n_bands=estimate_nbnd(2 * save.n_valence[0], crystal.volume_angstrom3, protocol.energy_window_ev),
        window_ev=protocol.energy_window_ev,
        metal_gap_ev=protocol.metal_gap_ev,
        tolerance=BandTolerance(
            window_ev=protocol.bands_tolerance_mev / MEV_PER_EV,
            top_ev=protocol.bands_top_tolerance_mev / MEV_PER_EV,
            window_top_ev=protocol.energy_max_ev,
        ),
        path=band_path(crystal, n_points) if n_points else None,
        similarity=protocol.kgrid_similarity if protocol.kgrid == "converged" else None,
        kppa_max=protocol.kgrid_kppa_max,
    )
    response = ResponseRequest(
        gmax_mry=protocol.gmax_mry,
        energies_ev=energy_grid_ev(protocol.n_energies, protocol.energy_max_ev),
        damping_ev=protocol.damping_ev,
        green_function=protocol.green_function,
    )
    return grid, response


def bands_document(result: Spectra, path: BandPath | None) -> dict[str, Any]:
    """Plain values of the last grid's bands and of all grids.

    ``kgrid_converged`` and ``energy_change_ev`` where that was asked, ``path_*`` where there is a path.
    """
    last = result.grids[-1]
    bands, trained = last.bands, last.bands.trained
    save = bands.save
    found: dict[str, Any] = {
        "gap_indirect_ev": save.gap_indirect_ev,
        "gap_direct_ev": save.gap_direct_ev,
        "top_band_min_above_vbm_ev": save.top_band_min_above_vbm_ev,
        "n_bands": save.n_bands,
        "n_valence": list(save.n_valence),
        "n_kpoints_used": len(save.kpoints),
        "kgrids": [list(grid.divisions) for grid in result.grids],
        "kgrid_similarity": list(last.similarity or ()),
        "bands_window_error_mev": trained.window_error_ev * MEV_PER_EV,
        "bands_top_error_mev": trained.top_error_ev * MEV_PER_EV,
        "bands_pw_error_mev": bands.pw_error_ev * MEV_PER_EV,
        "n_basis_functions": trained.basis.size,
        "n_basis_samples": len(trained.samples),
        "bands_cpu_seconds": result.bands_cpu_s,
    }
    if result.converged is not None:
        found["kgrid_converged"] = result.converged
    if result.energy_change_ev is not None:
        found["energy_change_ev"] = result.energy_change_ev
    if path is not None:
        n_valence = save.n_valence[0]
        filled = max(
            save.eigenvalues[0, :, n_valence - 1].max(), bands.path_energies[:, n_valence - 1].max()
        )
        found |= {
            "path_labels": list(path.labels),
            "path_corners": list(path.corners),
            "path_kpoints": path.kpoints.tolist(),
            "path_distances_per_angstrom": path.distances.tolist(),
            "path_energies_ev": ((bands.path_energies - filled) * HARTREE_EV).tolist(),
        }
    return found


def summary(result: Spectra) -> str:
    """How the bands were made, for people."""
    last = result.grids[-1]
    trained, save = last.bands.trained, last.bands.save
    grids = " -> ".join("x".join(map(str, grid.divisions)) for grid in result.grids)
    lines = [
        f"k-grid {grids}, {len(save.kpoints)} inequivalent points, {trained.basis.size} basis functions "
        f"made of {len(trained.samples)} k-points",
        f"measured errors: {trained.window_error_ev * MEV_PER_EV:.1f} meV up to the photon energies, "
        f"{trained.top_error_ev * MEV_PER_EV:.1f} meV above; filled bands against pw.x "
        f"{last.bands.pw_error_ev * MEV_PER_EV:.2f} meV",
    ]
    if last.similarity is not None:
        agree = "" if result.converged else ", which is not enough"
        lines.append(f"SC between the last two grids {np.min(last.similarity):.4f}{agree}")
    if last.response is None:
        lines.append(f"a metal, or nearly: indirect gap {save.gap_indirect_ev:.3f} eV; no response")
    if result.energy_change_ev is not None:
        lines.append(f"total energy of the cell changes by {result.energy_change_ev * 1e3:.2f} meV")
    return "\n".join(lines)
