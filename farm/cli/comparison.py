"""A comparison of two engines as `farm compare` tells it: a document, and a screen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from farm.comparison import OtherEngine, RungAgreement, agreement, worst_difference
from farm.console import screen
from farm.job import Engine
from farm.result import Result

if TYPE_CHECKING:
    from rich.table import Table

_NAMES = ("ecutwfc_ry", "ground_state_kgrid", "response_kgrid")


def comparison_document(stored: Result, other: OtherEngine) -> dict[str, Any]:
    """What `farm compare --json` prints."""
    computed = other.result
    native, yambo = (stored, computed) if stored.engine is Engine.NATIVE else (computed, stored)
    same_points = None
    if other.same_points:
        rungs = agreement(other.same_points, yambo)
        same_points = {**_agreement(rungs), "cpu_s": other.same_points_cpu_s}
    found, all_points = other.sampled
    notes = []
    if stored.physics_changed:
        notes.append("the stored result was corrected in a way that changes the physics")
    if other.note:
        notes.append(other.note)
    return {
        "material": stored.crystal.material_id,
        "formula": stored.crystal.formula,
        "stored": stored.engine.value,
        "computed": computed.engine.value,
        "protocol_hash": stored.protocol_hash,
        **{name: computed.parameters.get(name) for name in _NAMES},
        **_agreement(agreement(native.ladder, yambo)),
        "sampled_points": {"yambo": found, "all": all_points},
        "same_points": same_points,
        "runs": {engine.value: _run(result) for engine, result in _by_engine(native, yambo)},
        "notes": notes,
    }


def print_comparison(document: dict[str, Any]) -> None:
    """The table, what YAMBO does to the k-points, and what both engines took."""
    from rich.markup import escape

    console = screen()
    runs = document["runs"]
    kgrid = "x".join(map(str, document["response_kgrid"]))
    console.print(
        f"[bold]{escape(document['material'])}[/]: {document['stored']} (stored) and"
        f" {document['computed']} on one ground state, {document['ecutwfc_ry']:g} Ry, k-points {kgrid}"
    )
    console.print(_table(document["ladder"]))
    console.print(f"worst 1 - SC {document['worst']:.1e}")
    points = document["sampled_points"]
    sampled, every = points["yambo"], points["all"]
    if sampled < every:
        console.print(
            f"[yellow]YAMBO samples {sampled} of {every} k-points[/]: on grids of six points"
            " an axis and fewer it takes close members of a star for one"
        )
    if same := document["same_points"]:
        console.print("\nour solver with stars counted as YAMBO does (`farm response --weights yambo`)")
        console.print(_table(same["ladder"]))
        console.print(f"worst 1 - SC {same['worst']:.1e}")
    console.print()
    for name, run in runs.items():
        parts = ", ".join(f"{stage} {cpu_s:.1f}" for stage, cpu_s in run["cpu_s_by_stage"].items())
        n_scf = run["ground_state_runs"] if name == document["stored"] else None
        stored = f", {n_scf} scf runs" if n_scf and n_scf > 1 else ""
        bands = f", {run['nbnd']} bands by {run['bands']}" if run["nbnd"] else ""
        console.print(f"{name:<7} {run['cpu_s']:8.1f} CPU s ({parts}){bands}{stored}")
    for note in document["notes"]:
        console.print(f"[yellow]note[/] {escape(note)}")


def _agreement(rungs: Sequence[RungAgreement]) -> dict[str, Any]:
    return {"ladder": [rung.to_dict() for rung in rungs], "worst": worst_difference(rungs)}


def _by_engine(native: Result, yambo: Result) -> list[tuple[Engine, Result]]:
    return [(Engine.NATIVE, native), (Engine.YAMBO, yambo)]


def _run(result: Result) -> dict[str, Any]:
    recorded = result.parameters
    return {
        "cpu_s": result.cpu_s,
        "cpu_s_by_stage": {stage.stage.value: stage.cpu_s for stage in result.stages},
        "bands": recorded.get("bands", "nscf"),
        "nbnd": recorded.get("nbnd"),
        "ground_state_runs": recorded.get("ground_state_runs"),
        "gmax_converged_mry": list(result.gmax_converged_mry),
        "programs": dict(result.programs),
    }


def _table(ladder: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for heading in ("Gmax mRy", "G native", "G yambo"):
        table.add_column(heading, justify="right")
    for heading in ("SC x y z", "ε∞ native x y z", "ε∞ yambo x y z"):
        table.add_column(heading)
    for rung in ladder:
        table.add_row(
            "IPA" if rung["gmax_mry"] == 0 else str(rung["gmax_mry"]),
            *(str(n) for n in rung["n_g"].values()),
            "  ".join("   -   " if sc is None else f"{sc:.5f}" for sc in rung["similarity"]),
            *("  ".join(f"{x:.4f}" for x in three) for three in rung["eps_inf"].values()),
        )
    return table
