"""``farm status``: where the farm stands."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from farm.backlog import Backlog
from farm.console import duration, echo_json, open_backlog, screen, settings_of
from farm.errors import CheckpointError
from farm.job import Engine, JobState
from farm.settings import Settings
from farm.situation import unserved

if TYPE_CHECKING:
    from rich.console import Group


_BAR_WIDTH = 40
# Results that have waited for the writer for so long are told, up to so many.
_UNSTORED_AFTER_S = 10.0
_UNSTORED_SHOWN = 1000


def gather(backlog: Backlog, settings: Settings) -> dict[str, Any]:
    """The document of ``farm status --json``."""
    spent, to_go = backlog.cpu_s()
    workers = backlog.roster.workers()
    refit = backlog.roster.refit_state()
    try:
        checkpoint, damage = current_checkpoint(settings), None
    except CheckpointError as error:
        # The jobs go on without a model, and so does what is said of them.
        checkpoint, damage = None, str(error)
    return {
        "jobs": {state.value: n for state, n in backlog.counts().items()},
        "store": _store_counts(backlog, settings),
        "cpu_hours": {"spent": round(spent / 3600, 4), "to_go": round(to_go / 3600, 4)},
        "checkpoint": checkpoint,
        "checkpoint_damage": damage,
        "refit": refit.get("state", "idle"),
        "refit_progress": refit.get("progress", "") if refit.get("state") == "running" else "",
        "workers": workers,
        "unserved": unserved(backlog.ready_by_queue(), workers),
        "unstored": len(backlog.undelivered(_UNSTORED_AFTER_S, limit=_UNSTORED_SHOWN)),
        "running": [
            {"material": job.material_id, "formula": job.formula, "stage": job.stage, "worker": job.owner}
            for job in sorted(backlog.leased(), key=lambda job: job.job_id)
            if job.state is JobState.RUNNING
        ],
        "paused": backlog.paused(),
    }


def _store_counts(backlog: Backlog, settings: Settings) -> dict[str, int]:
    # The store is the truth where it can be seen; on another host the writer's word has to do.
    from farm.store import open_store

    if settings.store_path.is_file():
        with open_store(settings.store_path) as store:
            counts = store.counts()
        return {"materials": counts.materials, "ipa": counts.ipa, "rpa": counts.rpa}
    told = backlog.roster.stored_counts()
    return {key: told.get(key, 0) for key in ("materials", "ipa", "rpa")}


def current_checkpoint(settings: Settings) -> dict[str, Any] | None:
    """What ``latest`` points to, from its card alone (no torch).

    Raises CheckpointError for a card that cannot be read.
    """
    latest = settings.checkpoints_dir / "latest"
    if not latest.is_symlink():
        return None
    try:
        card = json.loads((latest / "card.json").read_text(encoding="utf-8"))
        # Weights that were imported say neither.
        n_train, measured = card["n_train"], card["metrics"].get("rpa")
        return {
            "version": str(card["version"]),
            "trained_on": None if n_train is None else int(n_train),
            "median_sc": None if measured is None else float(measured["median_sc"]),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint in use, {latest.readlink()}, is damaged",
            fix="Choose another from `farm checkpoints list` with `farm checkpoints promote`",
        ) from error


def model_line(checkpoint: dict[str, Any]) -> str:
    """What :func:`current_checkpoint` found, in one line."""
    n_spectra, median_sc = checkpoint["trained_on"], checkpoint["median_sc"]
    learnt = "imported" if n_spectra is None else f"{n_spectra} spectra"
    measured = "not measured" if median_sc is None else f"held-out median SC {median_sc:.3f}"
    return f"{checkpoint['version']}, {learnt}, {measured}"


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
            echo_json(gather(backlog, settings))
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


def progress(hours: dict[str, float], slots: int) -> str:
    """A bar of spent over spent and predicted CPU time, and the time that is left on these slots."""
    share = hours["spent"] / (hours["spent"] + hours["to_go"])
    filled = round(share * _BAR_WIDTH)
    bar = f"[green]{'━' * filled}[/][dim]{'━' * (_BAR_WIDTH - filled)}[/] {share:4.0%}"
    if not slots:
        return f"{bar}, no worker is running"
    left = duration(hours["to_go"] * 3600 / slots)
    return f"{bar}, about {left} left on {_slots(slots)}"


def _worker(worker: dict[str, Any]) -> str:
    from rich.markup import escape

    name = f"{worker['name']} ({_slots(worker['slots'])})" if worker["slots"] else str(worker["name"])
    return f"{name} [yellow]takes no jobs: {escape(worker['hold'])}[/]" if worker.get("hold") else name


def _troubles(document: dict[str, Any]) -> list[str]:
    """What waits for somebody to do something, and what."""
    lines = []
    for queue, n in document["unserved"].items():
        engine, slot_class = queue.split(".")
        jobs = "1 job waits" if n == 1 else f"{n} jobs wait"
        if Engine(engine) is Engine.YAMBO:
            lines.append(f"{jobs} for a worker with yambo: `farm doctor` says what is missing")
        else:
            lines.append(f"{jobs} for a {slot_class} slot: `farm worker --slots 1` gives one more memory")
    if n := document["unstored"]:
        lines.append(f"{n} results wait for the writer: `farm writer`, and its log says why")
    return lines


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
    if document["paused"]:
        table.add_row("", "[yellow]paused: nothing new is dispatched; `farm resume`")
    store = document["store"]
    table.add_row("[bold]store", f"{store['materials']} materials, {store['ipa']} IPA, {store['rpa']} RPA")
    hours = document["cpu_hours"]
    table.add_row(
        "[bold]CPU",
        f"{duration(hours['spent'] * 3600)} spent, {duration(hours['to_go'] * 3600)} to go (predicted)",
    )
    if hours["to_go"] > 0:
        table.add_row("", progress(hours, sum(worker["slots"] for worker in document["workers"])))
    checkpoint = document["checkpoint"]
    if checkpoint:
        model = model_line(checkpoint)
    else:
        damage = document["checkpoint_damage"]
        model = f"[red]{escape(damage)}" if damage else "no checkpoint yet"
    table.add_row("[bold]model", model)
    told = f": {document['refit_progress']}" if document["refit_progress"] else ""
    table.add_row("", f"refit {document['refit']}{told}")
    names = "\n".join(_worker(worker) for worker in document["workers"])
    table.add_row("[bold]roles", names or "none running; `farm up` starts them")
    for job in document["running"]:
        table.add_row("[bold]now", f"{job['formula']:<8} {job['material']:<20} {job['stage']}")
    for line in _troubles(document):
        table.add_row("", f"[yellow]{escape(line)}")
    if jobs["failed"]:
        table.add_row("", "[red]`farm jobs --state failed` says why; `farm retry --state failed`")
    return Group(table)
