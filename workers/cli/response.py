"""`farm response SAVE_DIR`: IPA and RPA spectra of any finished pw.x band calculation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.finite import Finite

if TYPE_CHECKING:
    from collections.abc import Callable

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATH = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_POSITIVE = Finite(min=0, min_open=True)


class _ListOfNumbers(click.Command):
    """Lets ``--gmax-mry 0 2000 4000`` stand for the option given once a number."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        inside = False
        for word in args:
            if inside and word.isdecimal() and spread[-1] != "--gmax-mry":
                spread.append("--gmax-mry")
            inside = word == "--gmax-mry" or (inside and word.isdecimal())
            spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=_ListOfNumbers)
@click.argument("save_dir", type=_FOLDER)
@click.option("--pseudo-dir", type=_FOLDER, help="UPF files. [SAVE_DIR]")
@click.option(
    "--gmax-mry",
    type=click.IntRange(min=0),
    multiple=True,
    default=(0, 2000, 4000, 6000, 8000, 10000),
    show_default=True,
    metavar="MRY...",
    help="Local-field cutoffs, ascending, the first 0 (IPA).",
)
@click.option("--damping-ev", type=_POSITIVE, default=0.3, show_default=True)
@click.option("--energy-max-ev", type=_POSITIVE, default=20.0, show_default=True)
@click.option("--n-energies", type=click.IntRange(min=2), default=2001, show_default=True)
@click.option(
    "--green-function",
    type=click.Choice(["time-ordered", "retarded"]),
    default="time-ordered",
    show_default=True,
)
@click.option(
    "--weights",
    type=click.Choice(["exact", "yambo"]),
    default="exact",
    show_default=True,
    help="Stars of the k-points: all members, or those that YAMBO finds on coarse grids.",
)
@click.option("--bands", type=click.IntRange(min=2), help="Only so many of the lowest bands. [all]")
@click.option("--off-diagonal", is_flag=True, help="Also eps_xy, eps_yz and eps_zx.")
@click.option(
    "--threshold",
    type=Finite(min=0, max=1),
    default=0.9,
    show_default=True,
    help="Similarity of a converged step.",
)
@click.option("--out", type=_PATH, help="Write FILE.npz, FILE.h5 or FILE.json.")
@click.option("--plot", type=_PATH, help="Write a figure (png, pdf, svg).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--memory-mb", type=_POSITIVE, default=4000.0, show_default=True, help="Bound on response matrices."
)
def response(
    save_dir: Path,
    pseudo_dir: Path | None,
    out: Path | None,
    plot: Path | None,
    as_json: bool,
    threads: int,
    threshold: float,
    energy_max_ev: float,
    n_energies: int,
    **choices: Any,
) -> None:
    """Compute the dielectric function of a pw.x PREFIX.save directory, all Gmax and directions at once.

    Needs norm-conserving pseudopotentials, a gap, and an nscf run that kept its wavefunctions.

    \b
    farm response out/Si.save
    farm response out/Si.save --gmax-mry 0 2000 4000 --plot si.png
    farm response out/Si.save --green-function retarded --off-diagonal --out si.h5
    """
    # Linear algebra libraries read these once, when numpy is loaded below.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    from farm.spectrum import energy_grid_ev
    from workers.cli import response_output as output
    from workers.gmax import judge_ladder
    from workers.rpa.response import ResponseRequest, compute_response

    output.check_suffix(out, output.DATA_SUFFIXES)
    output.check_suffix(plot, output.FIGURE_SUFFIXES)
    request = ResponseRequest(energies_ev=energy_grid_ev(n_energies, energy_max_ev), **choices)
    result = compute_response(save_dir, request, pseudo_dir=pseudo_dir, on_progress=progress())
    verdict = judge_ladder(result.gmax_mry, result.eps, result.energies_ev, threshold)
    for line in output.warnings(result):
        click.echo(f"warning: {line}", err=True)
    document = output.document(result, request, verdict)
    if out is not None:
        output.write(out, document)
    if plot is not None:
        output.plot(plot, result)
    click.echo(output.as_text(document) if as_json else output.table(result, verdict))


def progress() -> Callable[[int, int], None]:
    """A line that counts k-points, on a terminal only."""

    def show(done: int, total: int) -> None:
        end = "\r\033[K" if done == total else ""
        click.echo(f"\rk-point {done} of {total}{end}", err=True, nl=False)

    return show if sys.stderr.isatty() else lambda _done, _total: None


if __name__ == "__main__":
    response()
