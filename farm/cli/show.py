"""``farm show``: one material, from the store and the backlog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from farm.console import echo_json, open_backlog, screen, settings_of
from farm.errors import InputError
from farm.result import Result
from farm.settings import Settings
from farm.spectrum import DIRECTIONS


@click.command()
@click.argument("material")
@click.option("--bands", is_flag=True, help="The band structure along the path of high symmetry instead.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a figure of the spectra; with --bands of the band structure.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def show(ctx: click.Context, material: str, bands: bool, plot: Path | None, as_json: bool) -> None:
    """Show one material: outcome, gaps, local-field ladder, corrections, CPU by stage.

    MATERIAL is an id, or a formula that names one material.

    With --bands: the gaps along the path of high symmetry, where the valence maximum and the
    conduction minimum are, and the measured error of the bands; with --json all energies, too.

    \b
    farm show MgO --plot MgO.png
    farm show MgO --bands
    farm show MgO --bands --plot MgO-bands.pdf
    farm show MgO --bands --json
    """
    settings = settings_of(ctx)
    result = _stored(settings, material, with_bands=bands)
    if result is None:
        _show_queued(_queued(settings, material), bands=bands, plot=plot is not None, as_json=as_json)
    elif bands:
        _show_bands(result, plot, as_json=as_json)
    else:
        if plot is not None:
            _plot(result, plot)
        document = _document(result)
        if as_json:
            echo_json(document)
        else:
            _print(document, plot)


def _show_queued(document: dict[str, Any], *, bands: bool, plot: bool, as_json: bool) -> None:
    if bands or plot:
        lacking = "band structure" if bands else "spectra to plot"
        raise InputError(f"{document['material']} is {document['state']}: it has no {lacking} yet")
    if as_json:
        echo_json(document)
    else:
        _print(document, None)


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


def _stored(settings: Settings, name: str, *, with_bands: bool) -> Result | None:
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


def _document(result: Result) -> dict[str, Any]:
    bands = result.band_structure
    return {
        "material": result.crystal.material_id,
        "formula": result.crystal.formula,
        "source": result.crystal.source,
        "space_group": result.space_group,
        "n_atoms": result.crystal.n_atoms,
        "state": result.outcome.value,
        "reason": result.reason,
        "engine": result.engine.value,
        "protocol_hash": result.protocol_hash,
        "gap_indirect_ev": result.gap_indirect_ev,
        "gap_direct_ev": result.gap_direct_ev,
        "band_structure": {"n_points": bands.n_points, "n_bands": bands.n_bands} if bands else None,
        "ladder": [
            {
                "gmax_mry": step.gmax_mry,
                "n_g": step.n_g,
                "eps_inf": step.eps.real[:, 0].tolist(),
                "step_similarity": list(step.step_similarity) if step.step_similarity else None,
            }
            for step in result.ladder
        ],
        "gmax_converged_mry": dict(zip(DIRECTIONS, result.gmax_converged_mry, strict=True)),
        "corrections": [vars(correction) for correction in result.corrections],
        "stages": [vars(stage) | {"stage": stage.stage.value} for stage in result.stages],
        "parameters": dict(result.parameters),
        "programs": dict(result.programs),
    }


def _queued(settings: Settings, name: str) -> dict[str, Any]:
    with open_backlog(settings) as backlog:
        views = [job for job in backlog.jobs() if name in (job.material_id, job.formula, job.job_id)]
    if not views:
        raise InputError(f"no material {name}", fix="`farm jobs` lists what is queued or finished")
    if len(views) > 1:
        ids = ", ".join(sorted({job.material_id for job in views}))
        raise InputError(f"{name} names several materials", fix=f"Choose one of {ids}")
    return views[0].to_dict()


def _plot(result: Result, path: Path) -> None:
    from farm.cli.figures import Drawn, draw_material

    if result.ipa is None or result.rpa is None:
        raise InputError(f"{result.crystal.material_id} has no spectra to plot: {result.reason}")
    draw_material(Drawn(material_id=result.crystal.material_id, ipa=result.ipa, rpa=result.rpa), path)


def _print(document: dict[str, Any], plot: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = screen()
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # a hash that is cut cannot be compared
    for name, value in document.items():
        if name not in ("ladder", "stages", "corrections") and value not in (None, "", {}):
            facts.add_row(f"[bold]{name}", escape(_inline(value)))
    console.print(facts)
    if document.get("ladder"):
        table = Table("Gmax mRy", "G vectors", "ε∞ x y z", "SC to the step before x y z", box=None)
        for step in document["ladder"]:
            similarity = step["step_similarity"]
            table.add_row(
                f"{step['gmax_mry']}" + (" (IPA)" if step["gmax_mry"] == 0 else ""),
                str(step["n_g"]),
                "  ".join(f"{x:.3f}" for x in step["eps_inf"]),
                "  ".join(f"{x:.4f}" for x in similarity) if similarity else "",
            )
        console.print(table)
    if document.get("stages"):
        table = Table("stage", "CPU s", "wall s", "peak MB", box=None)
        for stage in document["stages"]:
            numbers = [f"{stage[key]:.1f}" for key in ("cpu_s", "wall_s", "peak_memory_mb")]
            table.add_row(stage["stage"], *numbers)
        console.print(table)
    for correction in document.get("corrections", ()):
        console.print(f"[yellow]corrected[/] {escape(_inline(correction))}")
    if plot is not None and "ladder" in document:
        console.print(f"figure {plot}")


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_inline(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(_inline(v) for v in value)
    return "not converged" if value is None else str(value)
