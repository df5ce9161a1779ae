"""`farm response SAVE_DIR`: IPA and RPA spectra of any finished pw.x band calculation."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.gmax import LadderVerdict
    from workers.rpa.response import Response

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@click.command(
    epilog="""\b
Examples:
  farm response out/Si.save
  farm response out/Si.save --gmax-mry 0 --gmax-mry 2000 --gmax-mry 4000 --plot si.png
  farm response out/Si.save --out si.npz"""
)
@click.argument("save_dir", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--pseudo-dir", type=click.Path(path_type=Path, file_okay=False), help="UPF files. [SAVE_DIR]"
)
@click.option(
    "--gmax-mry",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0, 2000, 4000, 6000, 8000),
    show_default=True,
    help="Local-field cutoff, mRy; repeat in ascending order, first 0 (IPA).",
)
@click.option("--damping-ev", type=click.FloatRange(min=0, min_open=True), default=0.3, show_default=True)
@click.option(
    "--energy-max-ev", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True
)
@click.option("--n-energies", type=click.IntRange(min=2), default=2001, show_default=True)
@click.option(
    "--green-function",
    type=click.Choice(["time-ordered", "retarded"]),
    default="time-ordered",
    show_default=True,
)
@click.option(
    "--threshold", type=float, default=0.9, show_default=True, help="Similarity of a converged step."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to FILE.npz (a direction that is not converged: -1) or FILE.json.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a figure (png, pdf, svg)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
def response(
    save_dir: Path,
    pseudo_dir: Path | None,
    gmax_mry: tuple[int, ...],
    damping_ev: float,
    energy_max_ev: float,
    n_energies: int,
    green_function: Any,
    threshold: float,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    threads: int,
) -> None:
    """Compute the dielectric function of a pw.x PREFIX.save directory, all Gmax and directions at once.

    Needs norm-conserving pseudopotentials, a gap, and an nscf run that kept its wavefunctions.
    """
    _check_suffix(out, (".npz", ".json"))
    _check_suffix(plot, (".png", ".pdf", ".svg"))
    # Linear algebra libraries read these once, when numpy is loaded below.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    from farm.spectrum import energy_grid_ev
    from workers.gmax import judge_ladder
    from workers.rpa.response import ResponseRequest, compute_response

    request = ResponseRequest(
        gmax_mry=gmax_mry,
        energies_ev=energy_grid_ev(n_energies, energy_max_ev),
        damping_ev=damping_ev,
        green_function=green_function,
    )
    result = compute_response(save_dir, request, pseudo_dir=pseudo_dir)
    verdict = judge_ladder(result.gmax_mry, result.eps, result.energies_ev, threshold)
    if result.gap_indirect_ev <= 0:
        click.echo(f"warning: the bands overlap by {-result.gap_indirect_ev:.3f} eV: a metal", err=True)
    document = _document(result, verdict)
    if out is not None:
        _write(out, document)
    if plot is not None:
        _plot(plot, result)
    click.echo(json.dumps(document) if as_json else _table(result, verdict))


def _check_suffix(path: Path | None, known: tuple[str, ...]) -> None:
    if path is not None and path.suffix not in known:
        raise click.BadParameter(f"{path} must end in {' or '.join(known)}")


def _document(result: Response, verdict: LadderVerdict) -> dict[str, Any]:
    from farm.spectrum import DIRECTIONS

    # ru_maxrss is in kB on Linux and in bytes on macOS.
    per_mb = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "energies_ev": result.energies_ev.tolist(),
        "gmax_mry": list(result.gmax_mry),
        "n_g": list(result.n_g),
        "directions": list(DIRECTIONS),
        "eps_real": result.eps.real.tolist(),
        "eps_imag": result.eps.imag.tolist(),
        "step_similarity": [list(step) for step in verdict.step_similarity],
        "converged_gmax_mry": list(verdict.converged_gmax_mry),
        "gap_indirect_ev": result.gap_indirect_ev,
        "gap_direct_ev": result.gap_direct_ev,
        "top_band_min_above_vbm_ev": result.top_band_min_above_vbm_ev,
        "n_bands": result.n_bands,
        "n_valence": result.n_valence,
        "n_kpoints": result.n_kpoints,
        "cpu_seconds": time.process_time(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mb,
    }


def _write(path: Path, document: dict[str, Any]) -> None:
    import numpy as np

    # Whole or not at all: a reader never sees half a file.
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        if path.suffix == ".json":
            file.write(json.dumps(document).encode())
        else:
            # npz knows no null: -1 stands for a direction that did not converge.
            converged = [-1 if g is None else g for g in document["converged_gmax_mry"]]
            np.savez_compressed(file, **{**document, "converged_gmax_mry": converged})
    part.replace(path)


def _table(result: Response, verdict: LadderVerdict) -> str:
    from farm.spectrum import DIRECTIONS

    lines = [
        f"{result.n_kpoints} k-points, {result.n_valence} valence of {result.n_bands} bands, "
        f"gap {result.gap_indirect_ev:.3f} eV (direct {result.gap_direct_ev:.3f} eV)",
        "",
        "Gmax/mRy    n_G   eps(0) x        y        z   SC of step x        y        z",
    ]
    for i, (gmax, n_g) in enumerate(zip(result.gmax_mry, result.n_g, strict=True)):
        static = "".join(f"{value:9.4f}" for value in result.eps[i, :, 0].real)
        steps = verdict.step_similarity[i - 1] if i else ()
        similarity = "".join(f"{value:9.4f}" for value in steps)
        lines.append(f"{gmax:8d} {n_g:6d} {static}      {similarity}".rstrip())
    for name, gmax_converged in zip(DIRECTIONS, verdict.converged_gmax_mry, strict=True):
        state = "not converged" if gmax_converged is None else f"converged at {gmax_converged} mRy"
        lines.append(f"{name}: {state}")
    return "\n".join(lines)


def _plot(path: Path, result: Response) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from farm.spectrum import DIRECTIONS

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for d, axis in enumerate(axes):
        for gmax, eps in zip(result.gmax_mry, result.eps[:, d], strict=True):
            label = "IPA" if gmax == 0 else f"RPA {gmax} mRy"
            axis.plot(result.energies_ev, eps.imag, label=label, lw=1)
        axis.set(xlabel="energy (eV)", title=DIRECTIONS[d], xlim=(0, result.energies_ev[-1]))
    axes[0].set_ylabel(r"Im $\varepsilon$")
    axes[0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    response()
