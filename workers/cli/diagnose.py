"""``farm diagnose``: what went wrong in any directory of pw.x, p2y and yambo runs, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from workers.diagnose.verdicts import Verdict

_COLOURS = {
    "ok": "green",
    "metal": "cyan",
    "unconverged": "yellow",
    "failed": "red",
    "incomplete": "magenta",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def diagnose(directory: Path, as_json: bool) -> None:
    """Say what the runs of pw.x, p2y and yambo below DIRECTORY are worth, and what to do.

    Exit codes are not believed, nor are JOB DONE and Game Over: outputs are read. The first run that is
    not ok is the cause of what follows it.

    \b
    farm diagnose scratch/failed/mp-1/
    farm diagnose ~/runs/Si --json
    """
    from farm.console import echo_json, screen
    from farm.errors import InputError
    from workers.diagnose.tree import read_tree
    from workers.diagnose.verdicts import cause, judge_tree

    verdicts = judge_tree(read_tree(directory))
    if not verdicts:
        raise InputError(
            f"{directory}: no output of pw.x, p2y or yambo",
            fix="Name the directory that holds the *.out, l_p2y or r-* files",
        )
    worst = cause(verdicts)
    if as_json:
        document = _document(worst)
        echo_json({"directory": str(directory), **document, "runs": [_document(v) for v in verdicts]})
        return
    _print(screen(), worst, verdicts)


def _document(verdict: Verdict) -> dict[str, Any]:
    found = verdict.diagnosis
    return {
        "program": verdict.run.program,
        "run": verdict.run.main,
        "outcome": verdict.outcome.value,
        "diagnosis": found.name if found else None,
        "evidence": vars(found.evidence) if found else None,
        "remedies": list(verdict.remedies),
    }


def _print(console: Any, worst: Verdict, verdicts: list[Verdict]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if len(verdicts) > 1:
        table = Table("run", "program", "outcome", "diagnosis", box=None)
        for verdict in verdicts:
            table.add_row(
                escape(verdict.run.main),
                verdict.run.program,
                _coloured(verdict),
                verdict.diagnosis.name if verdict.diagnosis else "",
            )
        console.print(table)
        console.print()
    found = worst.diagnosis
    if found is None:
        console.print(f"{_coloured(worst)}: {worst.run.program} ended well, nothing is missing")
        return
    console.print(f"{_coloured(worst)}: {worst.run.program}, [bold]{found.name}[/]")
    place = f"{found.evidence.file}:{found.evidence.line}" if found.evidence.line else found.evidence.file
    console.print(f"  [dim]{escape(place)}[/]  {escape(found.evidence.text)}", highlight=False)
    for number, remedy in enumerate(worst.remedies, start=1):
        console.print(f"  {number}. {escape(remedy)}", highlight=False)


def _coloured(verdict: Verdict) -> str:
    return f"[{_COLOURS[verdict.outcome.value]}]{verdict.outcome.value}[/]"
