"""``farm checkpoints`` and ``pull``. Torch is loaded only when a command needs the weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import echo_json, screen, settings_of
from trainer.cli.published import export_weights, import_weights

if TYPE_CHECKING:
    from rich.progress import TaskID

    from trainer.checkpoints.card import Card
    from trainer.checkpoints.exchange import Progress

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def checkpoints() -> None:
    """Versions of the model: list, promote, go back, hand on, and the authors' own weights.

    \b
    farm checkpoints list
    farm checkpoints promote 0003-8be2d1
    farm checkpoints rollback
    farm checkpoints push s3://my-bucket/checkpoints
    farm checkpoints import --ipa optimate_ipa.pt
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
    from trainer.checkpoints.card import read_card
    from trainer.checkpoints.registry import Registry

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
    from trainer.checkpoints.registry import Registry

    Registry(settings_of(ctx).checkpoints_dir).promote(version)
    click.echo(f"latest is {version}")


@checkpoints.command()
@click.pass_context
def rollback(ctx: click.Context) -> None:
    """Back to the version from which the latest was made.

    From one that was imported or pulled, to what was in use before it.

    \b
    farm checkpoints rollback
    """
    from trainer.checkpoints.registry import Registry

    click.echo(f"latest is {Registry(settings_of(ctx).checkpoints_dir).rollback()}")


@checkpoints.command()
@_JSON
@click.pass_context
def history(ctx: click.Context, as_json: bool) -> None:
    """What was promoted, refused, rolled back and pulled, when and why; the oldest first.

    \b
    farm checkpoints history
    farm checkpoints history --json | jq '.[] | select(.event == "refused")'
    """
    from trainer.checkpoints.registry import Registry

    found = Registry(settings_of(ctx).checkpoints_dir).history()
    if found.n_damaged:
        click.echo(f"farm: {found.n_damaged} lines of the history cannot be read", err=True)
    if as_json:
        echo_json([entry.to_dict() for entry in found.entries])
        return
    for entry in found.entries:
        numbers = ", ".join(
            f"{name} {'unknown' if value is None else format(value, '.4g')}"
            for name, value in entry.numbers.items()
        )
        why = f"{entry.why} ({numbers})" if numbers else entry.why
        click.echo(
            f"{entry.time[:16].replace('T', ' ')} UTC  {entry.event:11s}  {entry.version}  "
            f"from {entry.origin or 'none'}  {why}"
        )
    if not found.entries:
        click.echo("nothing has happened yet", err=True)


@checkpoints.command()
@click.argument("dest")
@click.argument("version", required=False)
@click.option("--keep-latest", is_flag=True, help="Leave what is `latest` there as it is.")
@_JSON
@click.pass_context
def push(ctx: click.Context, dest: str, version: str | None, keep_latest: bool, as_json: bool) -> None:
    """Copy VERSION (default: the latest) to DEST, from which others can `farm pull`.

    DEST is a directory, s3://bucket/prefix or another URL of fsspec that can be written.

    \b
    farm checkpoints push /srv/www/checkpoints
    farm checkpoints push s3://my-bucket/checkpoints 0003-8be2d1
    """
    from trainer.checkpoints.exchange import push as push_to
    from trainer.checkpoints.registry import Registry

    registry = Registry(settings_of(ctx).checkpoints_dir)
    with _progress_bar() as on_progress:
        card = push_to(registry, dest, version, keep_latest=keep_latest, on_progress=on_progress)
    if as_json:
        echo_json({**_card_row(card, registry.latest()), "to": dest})
        return
    click.echo(f"{card.version} is in {dest}" + ("" if keep_latest else ", and the latest there"))


checkpoints.add_command(import_weights)
checkpoints.add_command(export_weights)


@click.command()
@click.argument("dest", required=False, type=_PATH)
@click.option("--from", "source", required=True, help="A directory of checkpoints, or its URL.")
@click.option("--version", help="Which (default: the latest there).")
@_JSON
@click.pass_context
def pull(ctx: click.Context, dest: Path | None, source: str, version: str | None, as_json: bool) -> None:
    """Copy a checkpoint from elsewhere to DEST (default: this farm's), verified by its hashes.

    It is used at once where there was none; else `farm checkpoints promote` it. Any web server over a
    directory of checkpoints will do, `python -m http.server` too, and buckets (`pip install s3fs`).

    \b
    farm pull --from /shared/farm-home/checkpoints
    farm pull --from https://example.org/checkpoints --version 0003-8be2d1
    farm pull --from s3://my-bucket/checkpoints --json
    """
    from trainer.checkpoints.exchange import pull as pull_from
    from trainer.checkpoints.registry import Registry

    registry = Registry(dest or settings_of(ctx).checkpoints_dir)
    with _progress_bar() as on_progress:
        card = pull_from(registry, source, version, on_progress=on_progress)
    latest = registry.latest()
    if as_json:
        echo_json({**_card_row(card, latest), "directory": str(registry.directory / card.version)})
        return
    hint = "in use" if latest == card.version else f"to use it: `farm checkpoints promote {card.version}`"
    click.echo(f"{card.version} is in {registry.directory}, verified; {hint}")


@contextmanager
def _progress_bar() -> Iterator[Progress | None]:
    """Bytes of each file on stderr, where somebody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=screen(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, so_far: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=so_far, total=total)

        yield on_progress
