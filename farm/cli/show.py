"""``farm show``: one material, from the store and the backlog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from farm.cli.material import material_document, print_material
from farm.console import echo_json, figure_path, open_backlog, screen, settings_of
from farm.errors import InputError
from farm.result import Result
from farm.settings import Settings


@click.command()
@click.argument("material")
@click.option("--bands", is_flag=True, help="The band structure along the path of high symmetry instead.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=figure_path,
    help="Write a figure of the spectra; with --bands of the band structure.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the inputs of the programs instead, to run them again by hand: a new or empty directory.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def show(
    ctx: click.Context, material: str, bands: bool, plot: Path | None, inputs: Path | None, as_json: bool
) -> None:
    """Show one material: outcome, gaps, local-field ladder, what each step cost, corrections.

    MATERIAL is an id, or a formula that names one material.

    With --bands: the gaps along the path of high symmetry, where the valence maximum and the
    conduction minimum are, and the measured error of the bands; with --json all energies, too.

    With --inputs: the exact inputs of every run, the pseudopotentials, a run.sh that runs them in order
    without the farm, and a README.txt that says what differs from the farm's own run.

    \b
    farm show MgO --plot MgO.png
    farm show MgO --bands
    farm show MgO --bands --plot MgO-bands.pdf
    farm show MgO --bands --json
    farm show MgO --inputs MgO-inputs
    """
    if inputs is not None and (bands or plot is not None):
        raise click.UsageError("--inputs writes inputs alone: give --bands or --plot in a call of its own")
    settings = settings_of(ctx)
    result = stored_result(settings, material, with_bands=bands)
    if result is None:
        lacking = (
            "inputs of runs" if inputs else "band structure" if bands else "spectra to plot" if plot else ""
        )
        _show_queued(_queued(settings, material), lacking, as_json=as_json)
    elif inputs is not None:
        from farm.cli.show_inputs import show_inputs

        show_inputs(result, inputs, as_json=as_json)
    elif bands:
        _show_bands(result, plot, as_json=as_json)
    else:
        if plot is not None:
            _plot(result, plot)
        document = material_document(result)
        if as_json:
            echo_json(document)
        else:
            print_material(document)
            if plot is not None:
                screen().print(f"figure {plot}")


def _show_queued(document: dict[str, Any], lacking: str, *, as_json: bool) -> None:
    if lacking:
        raise InputError(f"{document['material']} is {document['state']}: it has no {lacking} yet")
    if as_json:
        echo_json(document)
    else:
        print_material(document)


def _show_bands(result: Result, plot: Path | None, *, as_json: bool) -> None:
    from farm.cli.band_figure import draw_bands
    from farm.cli.bands import band_structure_of, bands_document, print_bands

    structure = band_structure_of(result)
    if plot is not None:
        draw_bands(structure, result.crystal.material_id, plot)
    if as_json:
        echo_json(bands_document(result, structure))
        return
    print_bands(result, structure)
    if plot is not None:
        screen().print(f"figure {plot}")


def stored_result(settings: Settings, name: str, *, with_bands: bool = False) -> Result | None:
    """The newest result of a material; ``with_bands`` the newest that has bands, if one has."""
    from farm.store import open_store

    if not settings.store_path.is_file():
        return None
    with open_store(settings.store_path) as store:
        rows = [row for row in store.rows() if name in (row.material_id, row.formula, row.job_id)]
        if not rows:
            return None
        if len({row.material_id for row in rows}) > 1:
            ids = ", ".join(sorted({row.material_id for row in rows}))
            raise InputError(f"{name} names several materials", fix=f"Choose one of {ids}")
        indices = [row.index for row in reversed(rows)]
        if with_bands:
            having = (index for index in indices if store.band_structure(index) is not None)
            return store.result(next(having, indices[0]))
        return store.result(indices[0])


def _queued(settings: Settings, name: str) -> dict[str, Any]:
    with open_backlog(settings) as backlog:
        views = [job for job in backlog.jobs() if name in (job.material_id, job.formula, job.job_id)]
    if not views:
        raise InputError(f"no material {name}", fix="`farm jobs` lists what is queued or finished")
    if len(ids := sorted({job.material_id for job in views})) > 1:
        raise InputError(f"{name} names several materials", fix=f"Choose one of {', '.join(ids)}")
    # Of a material that is queued under several protocols the one that is furthest.
    return views[0].to_dict()


def _plot(result: Result, path: Path) -> None:
    from farm.cli.figures import Drawn, draw_material

    if result.ipa is None:
        raise InputError(f"{result.crystal.material_id} has no spectra to plot: {result.reason}")
    draw_material(Drawn(material_id=result.crystal.material_id, ipa=result.ipa, rpa=result.rpa), path)
