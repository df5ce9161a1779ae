"""``farm doctor``: what is installed and reachable, and what to type where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points

import click

from farm.checks import Check, own_checks
from farm.console import echo_json, screen, settings_of
from farm.errors import FarmError
from farm.job import Job, Stage
from farm.operation_checks import operation_checks
from farm.settings import Settings

_ABSENT = {True: ("not ok", "red"), False: ("optional", "yellow")}


@click.command()
@click.option("--run", "with_run", is_flag=True, help="Also compute a small bundled crystal, in seconds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(ctx: click.Context, with_run: bool, as_json: bool) -> int:
    """Check programs, pseudopotentials, Redis and who may reach it, GPU, disk, store, dashboard, clusters.

    With --run, the cheapest bundled crystal goes through pw.x and the response solver at a coarse
    setting, and through yambo where that is installed. Exit code 1 when something the farm needs is
    missing or a run fails.

    \b
    farm doctor
    farm doctor --run
    """
    settings = settings_of(ctx)
    checks = [*_checked(own_checks, settings), _check_store(settings)]
    for point in entry_points(group="farm.checks"):
        checks += point.load()()
    checks += _checked(operation_checks, settings)
    if not as_json:
        _print(checks)
    if with_run:
        runs = _toy_runs(settings)
        checks += runs
        if not as_json:
            _print(runs)
    if as_json:
        echo_json([vars(check) for check in checks])
    return int(any(check.required and not check.ok for check in checks))


def _checked(look: Callable[[Settings], Iterable[Check]], settings: Settings) -> list[Check]:
    try:
        return list(look(settings))
    except OSError as error:
        detail = f"{error.filename or settings.home}: {error.strerror or error}"
        fix = "Give a directory that can be written: `farm --home DIR`"
        return [Check(name="home", ok=False, detail=detail, fix=fix)]


def _check_store(settings: Settings) -> Check:
    from farm.store.layout import LAYOUT_VERSION
    from farm.store.maintenance import facts

    path = settings.store_path
    if not path.exists():
        return Check(name="store", ok=True, detail=f"no results yet ({path})", required=False)
    try:
        found = facts(path)
    except FarmError as error:
        return Check(name="store", ok=False, detail=error.message, fix="`farm store verify`, then `repair`")
    detail = f"{found.n_materials:,} materials, {found.size_bytes / 1e6:,.1f} MB ({path})"
    if found.layout_version < LAYOUT_VERSION:
        detail += f"; layout {found.layout_version}, the next writer makes {LAYOUT_VERSION} of it"
    if found.n_set_aside:
        detail += f"; {found.n_set_aside} files in its spool are no results"
        fix = f"Look at {path}.spool/*.unreadable, and delete them"
        return Check(name="store", ok=False, detail=detail, fix=fix, required=False)
    return Check(name="store", ok=True, detail=detail)


def _toy_runs(settings: Settings) -> list[Check]:
    try:
        (point,) = entry_points(group="farm.toy_runs")
    except ValueError:
        fix = "Install the farm again: `pip install .` where its source is"
        return [Check(name="run", ok=False, detail="no part that computes is installed", fix=fix)]
    job = _toy_job()
    with screen(stderr=True).status(f"computing {job.crystal.material_id}") as line:

        def tell(stage: Stage, step: str) -> None:
            line.update(f"computing {job.crystal.material_id}: {step or stage.value}")

        checks: list[Check] = point.load()(job, settings.scratch_dir, tell)
    return checks


def _toy_job() -> Job:
    """The cheapest bundled crystal at a setting that is coarse beyond use."""
    from farm.cost import predict_cost
    from farm.crystal import Crystal
    from farm.protocol import PRESETS, Protocol
    from farm.sources import read_source

    coarse = {"ecutwfc_ry": 30, "ground_state_kppa": 60, "response_kppa": 60, "gmax_max_mry": 6000}
    protocol = Protocol.from_dict({**PRESETS["demo"].to_dict(), **coarse})
    crystals = [item for item in read_source(None) if isinstance(item, Crystal)]
    cheapest = min(crystals, key=lambda crystal: predict_cost(crystal, protocol).total_cpu_s)
    return Job(crystal=cheapest, protocol=protocol.to_dict(), protocol_hash=protocol.hash)


def _print(checks: list[Check]) -> None:
    from rich.markup import escape

    console = screen()
    for check in checks:
        mark, colour = ("ok", "green") if check.ok else _ABSENT[check.required]
        words = f"{check.name:<17} {check.detail}"
        # Never cut or broken: paths and commands are there to be copied.
        console.print(f"[{colour}]{mark:<9}[/]{escape(words)}", soft_wrap=True)
        if not check.ok and check.fix:
            console.print(f"{'':9}[bold]{escape(check.fix)}", soft_wrap=True)
