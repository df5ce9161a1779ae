"""One material as `farm show` tells it: a document, and a screen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from farm.console import screen
from farm.result import Result
from farm.spectrum import DIRECTIONS

if TYPE_CHECKING:
    from rich.table import Table

_TABLES = ("ladder", "stages", "steps", "corrections")
_MEASURES = {"cpu_s": "CPU s", "wall_s": "wall s", "peak_memory_mb": "peak MB", "disk_mb": "disk MB"}
# Of every run all inputs: `--inputs` writes them, `--json` prints them.
_LONG_PARAMETERS = ("runs", "symmorphic_rotations")
_WORKED = {True: "[green]worked[/]", False: "did not help", None: "not known whether it worked"}


def material_document(result: Result) -> dict[str, Any]:
    """What `farm show --json` prints."""
    bands = result.band_structure
    return {
        "material": result.crystal.material_id,
        "formula": result.crystal.formula,
        "source": result.crystal.source,
        "space_group": result.space_group,
        "n_atoms": result.crystal.n_atoms,
        "state": result.outcome.value,
        "reason": result.reason,
        "diagnosis": result.diagnosis,
        "advice": result.advice,
        "engine": result.engine.value,
        "protocol_hash": result.protocol_hash,
        "rungs": [name for name, eps in (("ipa", result.ipa), ("rpa", result.rpa)) if eps is not None],
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
        "steps": [step.to_dict() for step in result.steps],
        "parameters": dict(result.parameters),
        "programs": dict(result.programs),
    }


def print_material(document: dict[str, Any]) -> None:
    """The document, or that of a queued job, on about one screen."""
    from rich.markup import escape
    from rich.table import Table

    console = screen()
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")  # a hash that is cut cannot be compared
    # Without local fields there was nothing to converge.
    hidden = _TABLES if "rpa" in document.get("rungs", ("rpa",)) else (*_TABLES, "gmax_converged_mry")
    parameters = document.get("parameters", {})
    short = {name: value for name, value in parameters.items() if name not in _LONG_PARAMETERS}
    for name, value in (document | {"parameters": short}).items():
        if name not in hidden and value not in (None, "", {}, []):
            facts.add_row(f"[bold]{name}", escape(_inline(value)))
    steps = document.get("steps")
    if steps:
        by_stage = {stage["stage"]: round(stage["cpu_s"], 1) for stage in document["stages"]}
        facts.add_row("[bold]cpu_s", _inline(by_stage))
    console.print(facts)
    if document.get("ladder"):
        console.print(_ladder(document["ladder"]))
    if steps:
        console.print(_costs(steps, "step", "name"))
    elif document.get("stages"):
        console.print(_costs(document["stages"], "stage", "stage"))
    for correction in document.get("corrections", ()):
        step, diagnosis, remedy = (escape(correction[key]) for key in ("step", "diagnosis", "remedy"))
        physics = ", [red]changes physics[/]" if correction["changes_physics"] else ""
        worked = _WORKED[correction["worked"]]
        console.print(f"[yellow]corrected[/] {step}, {diagnosis}: {remedy}{physics}: {worked}")
        if correction["evidence"]:
            console.print(f"          [dim]{escape(correction['evidence'])}")


def _ladder(ladder: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("Gmax mRy", "G vectors", "ε∞ x y z", "SC to the step before x y z", box=None)
    for step in ladder:
        similarity = step["step_similarity"]
        table.add_row(
            f"{step['gmax_mry']}" + (" (IPA)" if step["gmax_mry"] == 0 else ""),
            str(step["n_g"] or "-"),  # of an imported step it is not known
            "  ".join(f"{x:.3f}" for x in step["eps_inf"]),
            "  ".join(f"{x:.4f}" for x in similarity) if similarity else "",
        )
    return table


def _costs(rows: list[dict[str, Any]], what: str, name: str) -> Table:
    """What steps cost, or the stages of results that do not tell of steps."""
    from rich.table import Table

    measures = [key for key in _MEASURES if key in rows[0]]
    table = Table(what, box=None)
    for key in measures:
        table.add_column(_MEASURES[key], justify="right")
    if "attempts" in rows[0]:
        table.add_column("attempts", justify="right")
    for row in rows:
        cells = [f"{row[key]:.1f}" for key in measures]
        if "attempts" in row:
            failed = " [red]failed[/]" if row["outcome"] == "failed" else ""
            cells.append(f"{row['attempts']}{failed}")
        table.add_row(row[name], *cells)
    return table


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_inline(v)}" for k, v in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " ".join(_inline(v) for v in value)
    return "not converged" if value is None else str(value)
