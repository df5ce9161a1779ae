"""`farm spectra SAVE_DIR`: from a finished pw.x ground state to IPA and RPA spectra and bands."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from farm.kpoints import FloatArray
    from workers.rpa.save import Save

_PATH = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


def _grids(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001 - click's signature
    text: str | None,
) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    if text is None:
        return None
    words = text.split()
    if len(words) != 6 or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise click.BadParameter("give six positive integers, the divisions of two grids")
    a, b, c, d, e, f = map(int, words)
    return (a, b, c), (d, e, f)


def _basis(ctx: click.Context, parameter: click.Parameter, text: str) -> list[list[int]]:  # noqa: ARG001 - click's signature
    try:
        rows = [[int(word) for word in text.split()[i : i + 3]] for i in (0, 3, 6)]
    except ValueError:
        rows = []
    if len(text.split()) != 9 or len(rows) != 3:
        raise click.BadParameter("give nine integers")
    (a, b, c), (d, e, f), (g, h, i) = rows
    if abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) != 1:
        raise click.BadParameter("these vectors do not span the same lattice (determinant not 1)")
    return rows


@click.command()
@click.argument("save_dir", type=_FOLDER)
@click.option(
    "--protocol", default="paper", show_default=True, metavar="paper|demo|FILE", help="Parameters."
)
@click.option("--pseudo-dir", type=_FOLDER, help="UPF files. [SAVE_DIR]")
@click.option("--potential", type=_PATH, help="Local potential by pp.x, plot_num = 1. [pp.x is run]")
@click.option(
    "--grid-basis",
    default="1 0 0 0 1 0 0 0 1",
    metavar="INTEGERS",
    callback=_basis,
    help="The k-grid is that of another cell: nine integers, the vectors of this cell in those of it.",
)
@click.option(
    "--energy-grids",
    metavar="INTEGERS",
    callback=_grids,
    help="Also say how the total energy changes between two grids: six integers.",
)
@click.option("--out", type=_PATH, help="Write FILE.npz, FILE.h5 or FILE.json.")
@click.option("--plot", type=_PATH, help="Write a figure of the spectra (png, pdf, svg).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
def spectra(
    save_dir: Path,
    protocol: str,
    pseudo_dir: Path | None,
    potential: Path | None,
    grid_basis: list[list[int]],
    energy_grids: tuple[tuple[int, int, int], tuple[int, int, int]] | None,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    threads: int,
) -> None:
    """Compute bands and the dielectric function from the ground state in a pw.x PREFIX.save directory.

    No nscf run is needed: the bands of the dense grid are made in a basis of the periodic parts of a few
    k-points, checked against plane waves. The protocol says how dense the grid is, how far the bands
    and the local-field ladder reach. Needs norm-conserving pseudopotentials, no spin, and a gap.

    \b
    farm spectra out/Si.save
    farm spectra out/Si.save --protocol demo --plot si.png
    farm spectra out/Si.save --protocol mine.toml --out si.h5
    """
    # Linear algebra libraries read these once, when numpy is loaded below.
    os.environ.update(
        dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    )
    import numpy as np

    from farm.protocol import load_protocol
    from workers.cli import response_output as output
    from workers.cli import spectra_output
    from workers.cli.response import progress
    from workers.gmax import judge_ladder
    from workers.reduced_basis.potential import read_local_potential
    from workers.reduced_basis.spectra import compute_spectra
    from workers.rpa.upf import read_pseudopotentials

    output.check_suffix(out, output.DATA_SUFFIXES)
    output.check_suffix(plot, output.FIGURE_SUFFIXES)
    chosen = load_protocol(protocol)
    save = _ground_state(save_dir)
    pseudos = read_pseudopotentials(save, pseudo_dir)
    local = _potential_by_pp(save_dir) if potential is None else read_local_potential(potential)
    request, response_request = spectra_output.requests(save, chosen, np.array(grid_basis))
    request = replace(request, energy_grids=energy_grids)
    result = compute_spectra(save, pseudos, local, request, response_request, on_progress=progress())
    last = result.grids[-1]
    document = spectra_output.bands_document(result, request.path)
    if last.response is not None:
        verdict = judge_ladder(
            last.response.gmax_mry,
            last.response.eps,
            last.response.energies_ev,
            chosen.similarity_threshold,
        )
        document = output.document(last.response, response_request, verdict) | document
    if out is not None:
        output.write(out, document)
    if plot is not None and last.response is not None:
        output.plot(plot, last.response)
    if as_json:
        click.echo(output.as_text(document))
        return
    click.echo(spectra_output.summary(result))
    if last.response is not None:
        click.echo(output.table(last.response, verdict))


def _ground_state(save_dir: Path) -> Save:
    from farm.errors import InputError
    from workers.rpa.save import read_save

    save = read_save(save_dir, empty_bands=False)
    if save.n_spin != 1:
        raise InputError(
            f"{save_dir} is a run with spin", fix="Run nscf on a dense grid and use `farm response`"
        )
    return save


def _potential_by_pp(save_dir: Path) -> FloatArray:
    import tempfile
    import threading

    from workers.potentials import POTENTIAL_FILE, run_local_potential
    from workers.reduced_basis.potential import read_local_potential

    with tempfile.TemporaryDirectory(prefix="farm-pp-") as name:
        run_local_potential(save_dir, Path(name), threading.Event())
        return read_local_potential(Path(name) / POTENTIAL_FILE)


if __name__ == "__main__":
    spectra()
