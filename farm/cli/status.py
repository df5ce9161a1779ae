"""``farm status``: where the farm stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from farm.advice import Urgency, advise, with_advice
from farm.console import duration, echo_json, open_backlog, screen, settings_of
from farm.overview import gather, model_line, seconds_left, slots_of, why_no_slot

if TYPE_CHECKING:
    from rich.console import Group


_BAR_WIDTH = 40
_COLOURS = {Urgency.NOW: "red", Urgency.SOON: "yellow", Urgency.NEWS: "dim"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--watch", is_flag=True, help="Refresh until interrupted.")
@click.pass_context
def status(ctx: click.Context, as_json: bool, watch: bool) -> None:
    """Jobs by state, CPU hours, workers, store and checkpoint.

    \b
    farm status --watch
    farm status --json | jq .jobs
    """
    settings = settings_of(ctx)
    with open_backlog(settings) as backlog:
        if as_json:
            echo_json(with_advice(gather(backlog, settings)))
            return

        console = screen()
        if not watch:
            console.print(render(gather(backlog, settings)))
            return
        from rich.live import Live

        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(render(gather(backlog, settings)), refresh=True)
                time.sleep(1.0)


def progress(document: dict[str, Any]) -> str:
    """A bar of spent over spent and predicted CPU time, and the time that is left on these slots."""
    hours = document["cpu_hours"]
    share = hours["spent"] / (hours["spent"] + hours["to_go"])
    filled = round(share * _BAR_WIDTH)
    bar = f"[green]{'━' * filled}[/][dim]{'━' * (_BAR_WIDTH - filled)}[/] {share:4.0%}"
    left_s = seconds_left(document)
    if left_s is None:
        return f"{bar}, {why_no_slot(document)}"
    return f"{bar}, about {duration(left_s)} left on {_slots(slots_of(document))}"


def _worker(worker: dict[str, Any]) -> str:
    from rich.markup import escape

    name = f"{worker['name']} ({_slots(worker['slots'])})" if worker["slots"] else str(worker["name"])
    if not worker.get("hold"):
        return name
    colour = "dim" if worker.get("leaving") else "yellow"
    return f"{name} [{colour}]takes no jobs: {escape(worker['hold'])}[/]"


def _slots(n: int) -> str:
    return "1 slot" if n == 1 else f"{n} slots"


def render(document: dict[str, Any]) -> Group:
    """The document as a small screen."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    jobs = document["jobs"]
    table.add_row("[bold]jobs", ", ".join(f"{n} {state}" for state, n in jobs.items() if n) or "none")
    store = document["store"]
    table.add_row("[bold]store", f"{store['materials']} materials, {store['ipa']} IPA, {store['rpa']} RPA")
    hours = document["cpu_hours"]
    table.add_row(
        "[bold]CPU",
        f"{duration(hours['spent'] * 3600)} spent, {duration(hours['to_go'] * 3600)} to go (predicted)",
    )
    if hours["to_go"] > 0:
        table.add_row("", progress(document))
    if document["finished_per_hour"]:
        table.add_row("[bold]rate", f"{document['finished_per_hour']:,.0f} materials an hour")
    checkpoint = document["checkpoint"]
    if checkpoint:
        model = model_line(checkpoint)
    else:
        damage = document["checkpoint_damage"]
        model = f"[red]{escape(damage)}" if damage else "no checkpoint yet"
    table.add_row("[bold]model", model)
    told = f": {document['refit_progress']}" if document["refit_progress"] else ""
    table.add_row("", f"refit {document['refit']}{told}")
    names = [f"scheduler@{document['leader']}"] if document["leader"] else []
    names += [_worker(worker) for worker in document["workers"]]
    table.add_row("[bold]roles", "\n".join(names) or "none running; `farm up` starts them")
    for job in document["running"]:
        table.add_row("[bold]now", f"{job['formula']:<8} {job['material']:<20} {job['stage']}")
    for advice in advise(document):
        colour = _COLOURS[advice.urgency]
        table.add_row("", f"[{colour}]{escape(advice.text)}: [bold]{escape(advice.command)}[/][/]")
    return Group(table)
