"""``farm store``: what the store is, whether it is sound, and what keeps it so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import echo_json, screen, settings_of

if TYPE_CHECKING:
    from farm.store.maintenance import StoreFacts, Verification

_LISTED = 20

_file = click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group("store")
def store_group() -> None:
    """Look after the store of spectra.

    FILE is a store or a snapshot of one; without it, the store of this farm.

    \b
    farm store info
    farm store verify
    farm store snapshot /backup/spectra.h5
    farm store compact --packed
    """


@store_group.command()
@_file
@_json
@click.pass_context
def info(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Say what a store holds and what takes its space; at once, however long it is.

    \b
    farm store info
    """
    from farm.store.maintenance import facts

    found = facts(_path(ctx, file))
    if as_json:
        echo_json(asdict(found) | {"path": str(found.path)})
    else:
        _print_facts(found)


@store_group.command()
@_file
@_json
@click.pass_context
def verify(ctx: click.Context, file: Path | None, as_json: bool) -> int:
    """Read every row and compare its checksum; the farm may go on meanwhile. Exit code 1: not sound.

    \b
    farm store verify
    farm store verify /backup/spectra.h5
    """
    from farm.store.maintenance import n_rows_to_read
    from farm.store.maintenance import verify as verify_store

    path = _path(ctx, file)
    with _progress("verifying", n_rows_to_read(path)) as on_rows:
        found = verify_store(path, on_rows=on_rows)
    if as_json:
        echo_json({"path": str(path), "sound": found.is_sound, **asdict(found)})
    else:
        _print_verification(path, found)
    return 0 if found.is_sound else 1


@store_group.command()
@_file
@_json
@click.pass_context
def repair(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """Save what is sound of a damaged store; what is lost is named, and the old file kept.

    The writer does this by itself when it finds the store of a writer that was killed. Stop the farm first.

    \b
    farm store repair
    """
    from farm.store.maintenance import n_rows_to_read
    from farm.store.maintenance import repair as repair_store

    path = _path(ctx, file)
    with _progress("repairing", n_rows_to_read(path)) as on_rows:
        done, n_spooled = repair_store(path, on_rows=on_rows)
    lost = [row.material_id or f"row {row.index}" for row in done.damaged]
    if as_json:
        old_file = str(done.old_file) if done.old_file else None
        echo_json({"rows": done.n_rows, "from_spool": n_spooled, "lost": lost, "old_file": old_file})
        return
    console = screen()
    console.print(f"{done.n_rows:,} rows saved, {n_spooled:,} taken from the spool, {len(lost):,} lost")
    if lost:
        console.print(_some(lost))
        console.print(f"The old file is {done.old_file}. `farm seed` queues again what is lost.")


@store_group.command()
@_file
@click.option(
    "--packed/--plain",
    default=None,
    help="Keep IPA and RPA as differences of integers, in three fifths of the space, or as floats that "
    "every tool plots; the numbers are the same. Without it, as they are.",
)
@_json
@click.pass_context
def compact(ctx: click.Context, file: Path | None, packed: bool | None, as_json: bool) -> None:
    """Write the store anew, without rows that a retry has replaced. Stop the farm first.

    \b
    farm store compact
    farm store compact --packed
    """
    from farm.store.maintenance import compact as compact_store
    from farm.store.maintenance import facts

    path = _path(ctx, file)
    with _progress("copying", facts(path).n_current) as on_rows:
        done = compact_store(path, packed=packed, on_rows=on_rows)
    if as_json:
        echo_json(asdict(done))
        return
    screen().print(
        f"{done.n_rows:,} rows, {done.n_dropped:,} dropped: "
        f"{_megabytes(done.before_bytes)} before, {_megabytes(done.after_bytes)} now"
    )


@store_group.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@_json
@click.pass_context
def snapshot(ctx: click.Context, target: Path, as_json: bool) -> None:
    """Copy what is there now to TARGET, for other hosts to read and to keep; the farm may go on meanwhile.

    Every row is verified on the way. TARGET appears whole or not at all, in place of an older snapshot.

    \b
    farm store snapshot /backup/spectra.h5
    """
    from farm.store.maintenance import n_rows_to_read
    from farm.store.maintenance import snapshot as copy_store

    path = settings_of(ctx).store_path
    with _progress("copying", n_rows_to_read(path)) as on_rows:
        n_rows = copy_store(path, target, on_rows=on_rows)
    size_bytes = target.stat().st_size
    if as_json:
        echo_json({"path": str(target), "rows": n_rows, "size_bytes": size_bytes})
    else:
        screen().print(f"{n_rows:,} rows, {_megabytes(size_bytes)} in {target}")


def _path(ctx: click.Context, file: Path | None) -> Path:
    return settings_of(ctx).store_path if file is None else file


def _print_facts(found: StoreFacts) -> None:
    from rich.table import Table

    console = screen()
    how = "packed" if found.packed else "floats"
    console.print(
        f"[bold]{found.path}[/]  {_megabytes(found.size_bytes)}, layout {found.layout_version}, {how}"
    )
    replaced = found.n_rows - found.n_current
    console.print(
        f"{found.n_materials:,} materials, {found.n_current:,} calculations"
        + (f", {replaced:,} more that a retry has replaced" if replaced else "")
    )
    if found.n_waiting or found.n_set_aside:
        console.print(
            f"spool: {found.n_waiting} results wait for the writer, {found.n_set_aside} files set aside"
        )
    table = Table("dataset", "MB", "kB a row", box=None, padding=(0, 2, 0, 0))
    for name, n_bytes in sorted(found.datasets_bytes.items(), key=lambda item: -item[1]):
        if n_bytes:
            table.add_row(name, f"{n_bytes / 1e6:.2f}", f"{n_bytes / 1e3 / max(found.n_rows, 1):.2f}")
    console.print(table)


def _print_verification(path: Path, found: Verification) -> None:
    console = screen()
    if found.is_sound:
        console.print(f"{path}: {found.n_rows:,} rows, [green]all sound[/]")
        return
    if found.complaint:
        console.print(f"[red]{found.complaint}[/]")
    console.print(f"{path}: {found.n_rows:,} rows, [red]{len(found.damaged):,} damaged[/]")
    console.print(_some([f"{row.material_id or '(no id)'}, row {row.index}" for row in found.damaged]))
    if found.misplaced:
        console.print(f"{len(found.misplaced):,} rows name a wrong one as that which they replace")
    console.print("`farm store repair` saves the others.")


def _some(names: list[str]) -> str:
    more = len(names) - _LISTED
    return "\n".join(f"  {name}" for name in names[:_LISTED]) + (
        f"\n  and {more:,} more" if more > 0 else ""
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB"


@contextmanager
def _progress(doing: str, n_rows: int | None) -> Iterator[Callable[[int], None] | None]:
    """A bar, on a terminal alone."""
    console: Any = screen(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(doing),
        BarColumn(20),
        MofNCompleteColumn(),
        TextColumn("rows,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=n_rows)
        yield lambda n: bar.advance(task, n)
