"""``farm show``: one material, from the store and the backlog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from farm.console import echo_json, open_backlog, screen, settings_of
from farm.errors import InputError
from farm.settings import Settings
from farm.spectrum import DIRECTIONS


@click.command()
@click.argument("material")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a figure of the spectra."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def show(ctx: click.Context, material: str, plot: Path | None, as_json: bool) -> None:
    """Show one material: outcome, gaps, local-field ladder, corrections, CPU by stage.

    MATERIAL is an id, or a formula that names one material.

    \b
    farm show MgO --plot MgO.png
    """
    settings = settings_of(ctx)
    document = _stored(settings, material, plot)
    if document is None:
        document = _queued(settings, material)
        if plot is not None:
            raise InputError(f"{material} is {document['state']}: it has no spectra to plot yet")
    if as_json:
        echo_json(document)
    else:
        _print(document, plot)


def _stored(settings: Settings, name: str, plot: Path | None) -> dict[str, Any] | None:
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
        result = store.result(rows[-1].index)
    if plot is not None:
        _plot(result, plot)
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


def _plot(result: Any, path: Path) -> None:
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
