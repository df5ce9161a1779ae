"""``farm checkpoints import`` and ``export``: the authors' weights, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from farm.console import echo_json, settings_of
from farm.errors import InputError
from farm.finite import Finite

if TYPE_CHECKING:
    from trainer.checkpoints.card import Rung

_FILE = click.Path(path_type=Path, dir_okay=False)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.command("import")
@click.option("--ipa", type=_FILE, metavar="FILE", help="Weights of the IPA model.")
@click.option("--rpa", type=_FILE, metavar="FILE", help="Weights of the RPA model.")
@click.option(
    "--energy-max",
    "energy_max_ev",
    type=Finite(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="End of the grid that they predict on, eV; it starts at 0.",
)
@_JSON
@click.pass_context
def import_weights(
    ctx: click.Context, ipa: Path | None, rpa: Path | None, energy_max_ev: float, as_json: bool
) -> None:
    """Make a version of the authors' published weights, of one rung or both.

    Files are state dicts or Lightning checkpoints of OPTIMATE; widths are read from them, and no code
    in them is run. It is used at once where there was nothing.

    \b
    farm checkpoints import --ipa optimate_ipa.pt
    farm checkpoints import --ipa ipa.ckpt --rpa rpa.ckpt
    """
    files: dict[Rung, Path] = {}
    if ipa is not None:
        files["ipa"] = ipa
    if rpa is not None:
        files["rpa"] = rpa
    if not files:
        raise InputError("nothing to import", fix="Give --ipa FILE, --rpa FILE or both")
    from trainer.checkpoints.imported import import_published
    from trainer.checkpoints.registry import Registry

    registry = Registry(settings_of(ctx).checkpoints_dir)
    card = import_published(registry, files, energy_max_ev=energy_max_ev)
    in_use = registry.latest() == card.version
    if as_json:
        echo_json({"version": card.version, "latest": in_use, "rungs": card.rungs, "model": card.model})
        return
    hint = "in use" if in_use else f"to use it: `farm checkpoints promote {card.version}`"
    click.echo(f"{card.version}: {' and '.join(rung.upper() for rung in card.rungs)}, not measured; {hint}")


@click.command("export")
@click.argument("version")
@click.argument("file", type=_FILE)
@click.option("--rung", type=click.Choice(["rpa", "ipa"]), help="Default: the highest that it holds.")
@click.option(
    "--layout",
    type=click.Choice(["a", "b"]),
    default="a",
    show_default=True,
    help="Names: a gat1, gat2 ...; b gat.module_0 ... as torch_geometric's Sequential gives.",
)
@click.option("--gatnn", is_flag=True, help="With gatnn. before every name.")
@click.option("--member", type=click.IntRange(min=1), help="Which one, of a model of several.")
@click.pass_context
def export_weights(
    ctx: click.Context,
    version: str,
    file: Path,
    rung: Literal["ipa", "rpa"] | None,
    layout: Literal["a", "b"],
    gatnn: bool,
    member: int | None,
) -> None:
    """Write the weights of VERSION to FILE as the authors' code loads them.

    Only networks of the architecture optimate have that form, not the oscillators of the default.

    \b
    farm checkpoints export 0003-8be2d1 weights.pt
    farm checkpoints export 0003-8be2d1 weights.pt --member 1
    farm checkpoints export 0003-8be2d1 weights.pt --rung ipa --layout b --gatnn
    """
    from trainer.checkpoints.published import of_published_form, to_published, write_published
    from trainer.checkpoints.registry import Registry

    model, card = Registry(settings_of(ctx).checkpoints_dir).load(version, rung)
    write_published(to_published(of_published_form(model, member), layout, prefixed=gatnn), file)
    click.echo(f"wrote {file}: {(rung or card.rungs[-1]).upper()} of {card.version}, layout {layout}")
