"""``farm compare``: a stored result against the other engine on the same ground state."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import click

from farm.comparison import OtherEngine
from farm.console import echo_json, screen, settings_of, stop_on_signals
from farm.errors import CalculationError, FarmError, InputError, LeaseLostError
from farm.job import Outcome, Stage
from farm.result import Result
from farm.settings import Settings

_FIGURES = (".png", ".pdf", ".svg")


@click.command()
@click.argument("material")
@click.option(
    "--ranks",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="MPI ranks of pw.x and YAMBO.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a figure of both spectra (png, pdf, svg).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def compare(ctx: click.Context, material: str, ranks: int, plot: Path | None, as_json: bool) -> None:
    """Run the other engine on the ground state of a stored result, and say how alike the spectra are.

    MATERIAL is an id, or a formula that names one material. A result of our solver is compared with
    YAMBO, one of YAMBO with our solver; the bands come from a dense nscf run. Takes minutes, not seconds.
    Nothing is stored.

    SC is the similarity of Im eps along x, y and z with YAMBO as the reference, 1 for equal spectra.

    \b
    farm compare LiF
    farm compare LiF --plot LiF.png
    farm compare LiF --ranks 4 --json
    """
    from farm.cli.comparison import comparison_document, print_comparison
    from farm.cli.show import stored_result

    if plot is not None and (plot.suffix not in _FIGURES or not plot.parent.is_dir()):
        raise InputError(
            f"{plot}: no figure can be written there", fix=f"Name a {', '.join(_FIGURES)} file"
        )
    settings = settings_of(ctx)
    stored = stored_result(settings, material)
    if stored is None:
        raise InputError(f"no result of {material} in the store", fix="`farm jobs` lists what is finished")
    if not stored.ladder:
        reason = f": {stored.outcome.value}, {stored.reason}" if stored.reason else ""
        raise InputError(f"{stored.crystal.material_id} has no spectra to compare{reason}")
    other = _computed(stored, settings, ranks)
    document = comparison_document(stored, other)
    if plot is not None:
        from farm.cli.figures import draw_comparison

        draw_comparison(stored, other.result, plot)
    if as_json:
        echo_json(document)
        return
    print_comparison(document)
    if plot is not None:
        screen().print(f"figure {plot}")


def _computed(stored: Result, settings: Settings, ranks: int) -> OtherEngine:
    try:
        (point,) = entry_points(group="farm.other_engines")
    except ValueError as error:
        raise FarmError(
            "no part that computes is installed",
            fix="Install the farm again: `pip install .` where its source is",
        ) from error
    name = stored.crystal.material_id
    settings.scratch_dir.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="compare-", dir=settings.scratch_dir) as scratch,
        _progress(name) as tell,
    ):
        try:
            other: OtherEngine = point.load()(
                stored, Path(scratch), on_progress=tell, cancelled=stop_on_signals(), ranks=ranks
            )
        except LeaseLostError as error:  # by a signal: nobody else can have taken it
            raise click.Abort from error
        result = other.result
        if result.ladder and result.outcome in (Outcome.DONE, Outcome.UNCONVERGED):
            return other
        kept = settings.scratch_dir / "failed" / result.job_id
        texts = Path(scratch) / "failed" / result.job_id
        if texts.is_dir():
            shutil.copytree(texts, kept, dirs_exist_ok=True)
    raise CalculationError(
        f"{name} with {result.engine.value}: {result.outcome.value}, {result.reason}",
        fix=f"`farm diagnose {kept}` says more" if kept.is_dir() else result.advice,
    )


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Stage, str], None]]:
    """On stderr: one line that changes on a terminal, else a line for each step."""
    text = f"computing {name}"
    if not sys.stderr.isatty():
        yield lambda stage, step: click.echo(f"{text}: {step or stage.value}", err=True)
        return
    with screen(stderr=True).status(text) as line:
        yield lambda stage, step: line.update(f"{text}: {step or stage.value}")
