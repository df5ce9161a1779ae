"""What `farm response` gives: a document as JSON, npz or HDF5, a table, a figure, warnings."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import click
import numpy as np

import farm
from farm.spectrum import DIRECTIONS, equal_directions
from workers.gmax import LadderVerdict
from workers.rpa.response import Response, ResponseRequest

DATA_SUFFIXES = (".npz", ".json", ".h5")
FIGURE_SUFFIXES = (".png", ".pdf", ".svg")

_PAIRS = ("xy", "yz", "zx")
# Axis order and unit of every array, as HDF5 attributes.
_AXES = {
    "energies_ev": "energy (eV)",
    "gmax_mry": "gmax (mRy, 0 is IPA)",
    "n_g": "gmax (G vectors in the response block)",
    "directions": "Cartesian axes",
    "eps_real": "gmax, direction, energy",
    "eps_imag": "gmax, direction, energy",
    "off_diagonal": "pairs of Cartesian axes",
    "eps_off_diagonal_real": "gmax, pair, energy",
    "eps_off_diagonal_imag": "gmax, pair, energy",
    "step_similarity": "step (from gmax[i] to gmax[i+1]), direction",
    "converged_gmax_mry": "direction (mRy; -1: not converged)",
    "kgrids": "grid, reciprocal vector (divisions)",
    "kgrid_similarity": "direction (SC of the grid before to the last)",
    "path_labels": "corner",
    "path_corners": "corner (number of its point)",
    "path_kpoints": "point, reciprocal vector (crystal coordinates)",
    "path_distances_per_angstrom": "point",
    "path_energies_ev": "point, band (eV above the valence band maximum)",
}


def check_suffix(path: Path | None, known: tuple[str, ...]) -> None:
    """Raise a usage error for a file name that says no format we know."""
    if path is not None and path.suffix not in known:
        raise click.BadParameter(f"{path} must end in {' or '.join(known)}")


def document(result: Response, request: ResponseRequest, verdict: LadderVerdict) -> dict[str, Any]:
    """Plain values; eps as ``[gmax][direction][energy]``, null where a direction is not converged."""
    # ru_maxrss is in kB on Linux and in bytes on macOS.
    per_mb = 2**20 if sys.platform == "darwin" else 2**10
    found = {
        "energies_ev": result.energies_ev.tolist(),
        "gmax_mry": list(result.gmax_mry),
        "n_g": list(result.n_g),
        "directions": list(DIRECTIONS),
        "eps_real": result.eps.real.tolist(),
        "eps_imag": result.eps.imag.tolist(),
        "step_similarity": [list(step) for step in verdict.step_similarity],
        "converged_gmax_mry": list(verdict.converged_gmax_mry),
        "damping_ev": request.damping_ev,
        "green_function": request.green_function,
        "weights": request.weights,
        "gap_indirect_ev": result.gap_indirect_ev,
        "gap_direct_ev": result.gap_direct_ev,
        "top_band_min_above_vbm_ev": result.top_band_min_above_vbm_ev,
        "n_bands": result.n_bands,
        "n_valence": list(result.n_valence),
        "n_kpoints": result.n_kpoints,
        "n_kpoints_used": result.n_kpoints_used,
        "farm_version": farm.__version__,
        "cpu_seconds": time.process_time(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb,
    }
    if result.eps_off_diagonal is not None:
        found["off_diagonal"] = list(_PAIRS)
        found["eps_off_diagonal_real"] = result.eps_off_diagonal.real.tolist()
        found["eps_off_diagonal_imag"] = result.eps_off_diagonal.imag.tolist()
    return found


def as_text(data: dict[str, Any]) -> str:
    """One JSON document."""
    return json.dumps(data, allow_nan=False)


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the document in the format of the suffix: whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # npz and HDF5 know no null: -1 stands for a direction that did not converge.
    converged = [-1 if g is None else g for g in data.get("converged_gmax_mry", ())]
    arrays = {**data, "converged_gmax_mry": converged}
    with part.open("w+b") as file:
        if path.suffix == ".json":
            file.write(as_text(data).encode())
        elif path.suffix == ".npz":
            np.savez_compressed(file, **arrays)
        else:
            _write_hdf5(file, arrays)
    part.replace(path)


def _write_hdf5(file: BinaryIO, data: dict[str, Any]) -> None:
    import h5py

    with h5py.File(file, "w") as h5:
        for name, value in data.items():
            if name not in _AXES:
                h5.attrs[name] = value
            elif value and isinstance(value[0], str):
                h5.create_dataset(name, data=value, dtype=h5py.string_dtype())
            else:
                h5.create_dataset(name, data=np.asarray(value))
            if name in _AXES:
                h5[name].attrs["axes"] = _AXES[name]


def warnings(result: Response) -> list[str]:
    """What a user should know of the spectrum, one sentence each."""
    told = []
    if result.gap_indirect_ev <= 0:
        told.append(
            f"the bands overlap by {-result.gap_indirect_ev:.3f} eV: a metal, its intraband part is missing"
        )
    reach, asked = result.top_band_min_above_vbm_ev, float(result.energies_ev[-1])
    if reach < asked:
        told.append(
            f"the {result.n_bands} bands end {reach:.1f} eV above the valence band maximum: transitions "
            f"are missing from there to {asked:g} eV; run the nscf step with more (nbnd)"
        )
    return told


def table(result: Response, verdict: LadderVerdict) -> str:
    """The ladder for people."""
    valence = " + ".join(str(n) for n in result.n_valence)
    lines = [
        f"{result.n_kpoints} k-points, {valence} valence of {result.n_bands} bands, "
        f"gap {result.gap_indirect_ev:.3f} eV (direct {result.gap_direct_ev:.3f} eV)",
        "",
        "Gmax/mRy    n_G   eps(0) x        y        z   SC of step x        y        z",
    ]
    for i, (gmax, n_g) in enumerate(zip(result.gmax_mry, result.n_g, strict=True)):
        static = "".join(f"{value:9.4f}" for value in result.eps[i, :, 0].real)
        steps = verdict.step_similarity[i - 1] if i else ()
        similarity = "".join(f"{value:9.4f}" for value in steps)
        lines.append(f"{gmax:8d} {n_g:6d} {static}      {similarity}".rstrip())
    if len(result.gmax_mry) == 1:
        lines.append("IPA alone: no local fields")
    else:
        lines += _convergence(verdict)
    if result.eps_off_diagonal is not None:
        last = result.eps_off_diagonal[-1, :, 0].real
        lines.append("eps(0) " + ", ".join(f"{p} {v:.4f}" for p, v in zip(_PAIRS, last, strict=True)))
    return "\n".join(lines)


def _convergence(verdict: LadderVerdict) -> list[str]:
    return [
        f"{name}: " + ("not converged" if gmax is None else f"converged at {gmax} mRy")
        for name, gmax in zip(DIRECTIONS, verdict.converged_gmax_mry, strict=True)
    ]


def plot(path: Path, result: Response) -> None:
    """Im and Re eps of the inequivalent directions, every step of the ladder."""
    from matplotlib.figure import Figure

    shown = equal_directions(result.eps)
    figure = Figure(figsize=(4.8 * len(shown), 5.2), layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False, sharex=True, sharey="row")
    last = len(result.gmax_mry) - 1
    for column, group in enumerate(shown):
        for i, (gmax, eps) in enumerate(zip(result.gmax_mry, result.eps[:, group[0]], strict=True)):
            label = "IPA" if gmax == 0 else f"RPA, {gmax / 1000:g} Ry"
            # IPA apart, then from pale to strong as the ladder climbs.
            style = {"color": "#7f8c8d", "ls": "--"} if i == 0 else {"color": "#c0392b"}
            for axis, values in zip(axes[:, column], (eps.imag, eps.real), strict=True):
                axis.plot(
                    result.energies_ev,
                    values,
                    **style,
                    label=label,
                    lw=1.6 if i == last else 1.1,
                    alpha=1.0 if i in (0, last) else 0.2 + 0.5 * i / last,
                )
        axes[0, column].set_title("along " + ", ".join(DIRECTIONS[d] for d in group))
        axes[1, column].set(xlabel="photon energy (eV)", xlim=(0, result.energies_ev[-1]))
    axes[0, 0].set_ylabel("Im ε")
    axes[1, 0].set_ylabel("Re ε")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
