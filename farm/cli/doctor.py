"""``farm doctor``: what is installed and reachable, and what to type where it is not."""

from __future__ import annotations

from importlib.metadata import entry_points

import click

from farm.checks import Check, own_checks
from farm.console import echo_json, screen, settings_of

_ABSENT = {True: ("missing", "red"), False: ("optional", "yellow")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> int:
    """Check programs, pseudopotentials, Redis, GPU and disk.

    Exit code 1 when something the farm needs is missing.

    \b
    farm doctor
    """
    checks = own_checks(settings_of(ctx))
    for point in entry_points(group="farm.checks"):
        checks += point.load()()
    failed = any(check.required and not check.ok for check in checks)
    if as_json:
        echo_json([vars(check) for check in checks])
    else:
        _print(checks)
    return int(failed)


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
