"""``farm cost``: what structures would cost, and where the seconds and the memory go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import duration, echo_json, screen, settings_of
from farm.errors import CrystalError, StoreError
from farm.stage import Engine, Stage

if TYPE_CHECKING:
    from farm.cost import CostEstimate
    from farm.cost_model import CostModel
    from farm.crystal import Crystal
    from farm.protocol import Protocol

# As many are told one by one; more make a table.
_TOLD_ALONE = 3
_NAMES = {Stage.GROUND_STATE: "ground state", Stage.BANDS: "bands", Stage.RESPONSE: "response"}

Row = dict[str, Any]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--protocol", default="paper", show_default=True, metavar="paper|demo|FILE", help="Parameters."
)
@click.option(
    "--engine",
    type=click.Choice([engine.value for engine in Engine]),
    default=Engine.NATIVE.value,
    show_default=True,
    help="Who computes the response. YAMBO takes its bands by nscf.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def cost(ctx: click.Context, files: tuple[Path, ...], protocol: str, engine: str, as_json: bool) -> int:
    """Predict what structures cost: CPU seconds by stage, with an 80 % interval, and peak memory.

    FILE is a CIF, POSCAR, pymatgen JSON or Alexandria file, or a directory of them. Nothing is run and
    nothing is queued. Where the farm's store holds results of the same protocol and engine, the
    prediction is corrected by what they took. A structure that cannot be treated is named with the
    reason, and the others go on.

    \b
    farm cost MgO.cif
    farm cost my_structures/ --protocol demo
    farm --home /data/farm cost new.cif --engine yambo --json
    """
    from farm.cost import predict_cost
    from farm.cost_fit import learnt_of
    from farm.protocol import load_protocol
    from farm.sources import Rejected, read_source

    by, chosen = Engine(engine), _with_bands_of(load_protocol(protocol), Engine(engine))
    model = learnt_of(settings_of(ctx).store_path, by, chosen.hash, on_damage=_not_fitted)
    rows: list[Row] = []
    rejected: list[Row] = []
    for file in files:
        for item in read_source(file):
            if isinstance(item, Rejected):
                _reject(rejected, item.source, item.reason, item.fix)
                continue
            try:
                estimate = predict_cost(item, chosen, by)
            except CrystalError as error:
                _reject(rejected, item.material_id, error.message, error.fix)
            else:
                rows.append(_row(item, estimate, model))
    if as_json:
        head = {"protocol_hash": chosen.hash, "engine": engine, "fitted_to": model.n_observed}
        echo_json({**head, "structures": rows, "rejected": rejected})
    else:
        _print(rows, model)
    return 1 if rejected and not rows else 0


def _with_bands_of(protocol: Protocol, engine: Engine) -> Protocol:
    from farm.protocol import Protocol

    if engine is not Engine.YAMBO or protocol.bands == "nscf":
        return protocol
    screen(stderr=True).print("YAMBO: bands by a dense nscf run, in place of the protocol's")
    return Protocol.from_dict({**protocol.to_dict(), "bands": "nscf"}, origin="--engine yambo")


def _not_fitted(error: StoreError) -> None:
    click.echo(f"farm: not fitted to measured costs: {error}", err=True)


def _reject(rejected: list[Row], source: str, reason: str, fix: str) -> None:
    click.echo(f"rejected {source}: {reason.rstrip('.')}. {fix}", err=True)
    rejected.append({"source": source, "reason": reason, "fix": fix})


def _row(crystal: Crystal, estimate: CostEstimate, model: CostModel) -> Row:
    from farm.slot_class import slot_class

    prediction, size = model.predict(estimate.prior), estimate.size
    largest = max(Stage, key=lambda stage: prediction.stages_cpu_s[stage])
    asked = slot_class(estimate.peak_memory_mb)
    return {
        "material": crystal.material_id,
        "formula": crystal.formula,
        "n_atoms": size.n_atoms,
        "n_electrons": size.n_electrons,
        "n_bands": size.n_bands,
        "n_plane_waves": round(size.n_waves),
        "n_kpoints_ground_state": size.n_kpoints_scf,
        "n_kpoints_response": size.n_kpoints,
        "cpu_s": {stage.value: _digits(seconds) for stage, seconds in prediction.stages_cpu_s.items()},
        "total_cpu_s": _digits(prediction.cpu_s),
        "interval_80_cpu_s": [_digits(prediction.low_cpu_s), _digits(prediction.high_cpu_s)],
        "dominated_by": largest.value,
        "dominated_share": round(prediction.stages_cpu_s[largest] / prediction.cpu_s, 3),
        "memory_mb": {stage.value: _digits(mb) for stage, mb in estimate.memory_mb.items()},
        "peak_memory_mb": _digits(estimate.peak_memory_mb),
        "slot_class": asked.value,
        "ranks": asked.ranks,
    }


def _digits(number: float) -> float:
    return float(f"{number:.4g}")


def _print(rows: list[Row], model: CostModel) -> None:
    console = screen()
    if not rows:
        return
    if len(rows) > _TOLD_ALONE:
        _print_table(rows)
    else:
        for row in rows:
            for name, value in _facts(row):
                console.print(f"[bold]{name:<14}[/]{value}", soft_wrap=True)
            console.print()
    if model.n_observed:
        console.print(f"fitted to {model.n_observed} materials of the store")
    else:
        console.print("not fitted: no store here holds results of this protocol and engine")
    if len(rows) > 1:
        console.print(f"{len(rows)} structures, {duration(sum(row['total_cpu_s'] for row in rows))} of CPU")


def _facts(row: Row) -> Iterator[tuple[str, str]]:
    from rich.markup import escape

    name, formula = row["material"], row["formula"]
    low, high = row["interval_80_cpu_s"]
    stages = ", ".join(f"{_NAMES[stage]} {row['cpu_s'][stage]:.3g}" for stage in Stage)
    memory = ", ".join(f"{_NAMES[stage]} {row['memory_mb'][stage]:.0f}" for stage in Stage)
    plural = "s" if row["ranks"] > 1 else ""
    yield "material", escape(name if name == formula else f"{name} ({formula})")
    yield "cell", f"{row['n_atoms']} atoms, {row['n_electrons']} electrons, {row['n_bands']} bands"
    yield "plane waves", f"{row['n_plane_waves']} a k-point"
    yield (
        "k-points",
        f"{row['n_kpoints_ground_state']} in the ground state, {row['n_kpoints_response']} in the response",
    )
    yield "CPU s", f"{row['total_cpu_s']:.3g}, 80 % between {low:.3g} and {high:.3g} ({stages})"
    yield "mostly", f"{_NAMES[Stage(row['dominated_by'])]}, {row['dominated_share']:.0%}"
    yield "peak memory", f"{row['peak_memory_mb']:.0f} MB ({memory})"
    yield "slot", f"{row['slot_class']}, {row['ranks']} rank{plural}"


def _print_table(rows: list[Row]) -> None:
    from rich.table import Table

    table = Table("material", "formula", box=None, header_style="bold")
    for name in ("atoms", "bands", "waves", "k", "scf s", "bands s", "resp. s", "CPU s", "80 %", "MB"):
        table.add_column(name, justify="right")
    table.add_column("slot")
    table.add_column("mostly")
    for row in rows:
        low, high = row["interval_80_cpu_s"]
        table.add_row(
            row["material"],
            row["formula"],
            *(str(row[name]) for name in ("n_atoms", "n_bands", "n_plane_waves", "n_kpoints_response")),
            *(f"{row['cpu_s'][stage]:.3g}" for stage in Stage),
            f"{row['total_cpu_s']:.3g}",
            f"{low:.3g}-{high:.3g}",
            f"{row['peak_memory_mb']:.0f}",
            row["slot_class"],
            f"{_NAMES[Stage(row['dominated_by'])]} {row['dominated_share']:.0%}",
        )
    screen().print(table)
