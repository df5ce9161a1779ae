"""``farm checkpoints`` and ``pull``. Torch is loaded only when a command needs the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import echo_json, settings_of
from farm.errors import InputError

if TYPE_CHECKING:
    from trainer.card import Card

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def checkpoints() -> None:
    """Versions of the model: list, promote, go back.

    \b
    farm checkpoints list
    farm checkpoints promote 0003-8be2d1
    farm checkpoints rollback
    """


@checkpoints.command("list")
@_JSON
@click.pass_context
def list_checkpoints(ctx: click.Context, as_json: bool) -> None:
    """Every version, oldest first; the one in use is marked.

    \b
    farm checkpoints list --json
    """
    from farm.errors import CheckpointError
    from trainer.card import read_card
    from trainer.registry import Registry

    registry = Registry(settings_of(ctx).checkpoints_dir)
    latest = registry.latest()
    cards = []
    damaged = 0
    for version in registry.versions():
        try:
            cards.append(read_card(registry.directory / version))
        except CheckpointError as error:
            damaged += 1
            click.echo(f"farm: {error}", err=True)
    if as_json:
        echo_json([_card_row(card, latest) for card in cards])
    for card in cards if not as_json else ():
        mark = "*" if card.version == latest else " "
        created = card.created[:16].replace("T", " ")
        learnt = "        imported" if card.n_train is None else f"{card.n_train:6d} materials"
        measured = "not measured" if card.median_sc is None else f"held-out median SC {card.median_sc:.3f}"
        click.echo(
            f"{mark} {card.version}  {created} UTC  {learnt}  {measured}  from {card.parent or 'none'}"
        )
    if not cards:
        click.echo("no checkpoint yet", err=True)
    if damaged:
        ctx.exit(1)


def _card_row(card: Card, latest: str | None) -> dict[str, Any]:
    return {
        "version": card.version,
        "latest": card.version == latest,
        "parent": card.parent,
        "created": card.created,
        "n_train": card.n_train,
        "median_sc": card.median_sc,
    }


@checkpoints.command()
@click.argument("version")
@click.pass_context
def promote(ctx: click.Context, version: str) -> None:
    """Verify VERSION and make it the latest.

    \b
    farm checkpoints promote 0003-8be2d1
    """
    from trainer.registry import Registry

    Registry(settings_of(ctx).checkpoints_dir).promote(version)
    click.echo(f"latest is {version}")


@checkpoints.command()
@click.pass_context
def rollback(ctx: click.Context) -> None:
    """Back to the version from which the latest was made.

    \b
    farm checkpoints rollback
    """
    from trainer.registry import Registry

    click.echo(f"latest is {Registry(settings_of(ctx).checkpoints_dir).rollback()}")


@click.command()
@click.argument("dest", required=False, type=_PATH)
@click.option("--from", "source", required=True, type=_PATH, help="A directory of checkpoints.")
@click.option("--version", help="Which (default: the latest there).")
@click.pass_context
def pull(ctx: click.Context, dest: Path | None, source: Path, version: str | None) -> None:
    """Copy a checkpoint from another farm to DEST (default: this farm's), verified by its hashes.

    It is used at once where there was none; else `farm checkpoints promote` it.

    \b
    farm pull --from /shared/farm-home/checkpoints
    """
    from trainer.registry import Registry

    if not source.is_dir():
        raise InputError(f"{source} is not a directory", fix="Give the checkpoints directory of a farm")
    registry = Registry(dest or settings_of(ctx).checkpoints_dir)
    card = registry.pull(source, version)
    in_use = registry.latest() == card.version
    hint = "in use" if in_use else f"to use it: `farm checkpoints promote {card.version}`"
    click.echo(f"{card.version} is in {registry.directory}, verified; {hint}")
