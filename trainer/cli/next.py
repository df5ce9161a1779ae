"""``farm next``: what to compute next. Torch is loaded only when it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from farm.console import echo_json, open_backlog, screen, settings_of

if TYPE_CHECKING:
    from farm.job import Job
    from farm.policy import Policy
    from farm.settings import Settings
    from trainer.inference.acquire import Proposal

# Of a backlog that waits, the first in order: a search through a million crystals takes minutes.
_MOST_WAITING = 20_000


@click.command("next")
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to name.")
@click.option(
    "--policy",
    type=click.Choice(["uncertainty-per-cost", "diverse", "cheapest"]),
    default="uncertainty-per-cost",
    show_default=True,
    help="What counts: how much the model's error would fall, or what is unlike all known; a CPU second.",
)
@click.option("--checkpoint", metavar="VERSION|PATH", help="Which model (default: the latest).")
@click.option(
    "--protocol",
    default="paper",
    show_default=True,
    metavar="paper|demo|FILE",
    help="For SOURCE.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def next_(
    ctx: click.Context,
    sources: tuple[Path, ...],
    limit: int,
    policy: str,
    checkpoint: str | None,
    protocol: str,
    as_json: bool,
) -> None:
    """Name the crystals that teach the model most for their CPU seconds.

    Of the jobs that wait, or of the structures in SOURCE, whether they are queued or not; what the store
    holds is known and counts as such. Nothing is queued or moved: `farm prioritise` does that, and the
    setting `policy` keeps a whole backlog in such an order by itself.

    \b
    farm next --limit 10
    farm next candidates/ --protocol demo --policy diverse
    farm next --json | jq -r '.next[].material' | xargs farm prioritise
    """
    from trainer.inference.acquire import propose

    settings = settings_of(ctx)
    if sources:
        jobs, nothing_read = _of_sources(sources, protocol, settings)
    else:
        jobs, nothing_read = _waiting(settings), False
    found, n_unseen = propose(
        jobs,
        cast("Policy", policy),
        limit=limit,
        checkpoints_dir=settings.checkpoints_dir,
        store_path=settings.store_path,
        reference=checkpoint,
    )
    if as_json:
        echo_json({"policy": policy, "not_seen": n_unseen, "next": [one.to_dict() for one in found]})
    else:
        _print(found, n_unseen, len(jobs), of_sources=bool(sources))
    if nothing_read:
        ctx.exit(1)


def _waiting(settings: Settings) -> list[Job]:
    with open_backlog(settings) as backlog:
        return backlog.ready_jobs(_MOST_WAITING)


def _of_sources(sources: Iterable[Path], protocol: str, settings: Settings) -> tuple[list[Job], bool]:
    """The crystals of files with their predicted cost, but for those that the store holds already.

    And whether nothing but rejections came.
    """
    from farm.cost_fit import learnt_of
    from farm.job import Engine, Job
    from farm.protocol import load_protocol
    from farm.seeding import Pricer, Terms
    from farm.sources import Filters, Rejected, read_source
    from farm.store import open_store

    chosen = load_protocol(protocol)
    model = learnt_of(
        settings.store_path,
        Engine.NATIVE,
        chosen.hash,
        on_damage=lambda error: click.echo(f"farm: not fitted to measured costs: {error}", err=True),
    )
    priced = Pricer(Terms(filters=Filters(), protocol=chosen, cost_model=model))
    held: set[str] = set()
    if settings.store_path.is_file():
        with open_store(settings.store_path) as store:
            held = store.held_job_ids()
    jobs: dict[str, Job] = {}
    for source in sources:
        for item in read_source(source):
            found = item if isinstance(item, Rejected) else priced(item)
            if isinstance(found, Job):
                jobs[found.job_id] = found
                continue
            wrong = found if isinstance(found, Rejected) else found.rejected
            click.echo(f"rejected {wrong.source}: {wrong.reason.rstrip('.')}. {wrong.fix}", err=True)
    return [job for job_id, job in jobs.items() if job_id not in held], not jobs


def _why_none(n_candidates: int, *, of_sources: bool) -> str:
    if n_candidates:
        return f"none of {n_candidates} can be seen by the model"
    if of_sources:
        return "no structure in SOURCE can be computed that is not in the store already"
    return "nothing waits; `farm seed` queues crystals, SOURCE names files to look at"


def _print(found: list[Proposal], n_unseen: int, n_candidates: int, *, of_sources: bool) -> None:
    from rich.table import Table

    if not found:
        click.echo(f"nothing to name: {_why_none(n_candidates, of_sources=of_sources)}")
        return
    table = Table("", "material", "formula", box=None)
    for name in ("atoms", "predicted CPU s", "expected SC", "SC[RPA;IPA]"):
        table.add_column(name, justify="right")
    for number, one in enumerate(found, start=1):
        table.add_row(
            str(number),
            one.crystal.material_id,
            one.crystal.formula,
            str(one.crystal.n_atoms),
            f"{one.predicted_cpu_s:.1f}",
            "" if one.expected_sc is None else f"{one.expected_sc:.2f}",
            "" if one.similarity is None else f"{one.similarity:.2f}",
        )
    screen().print(table)
    if n_unseen:
        click.echo(f"{n_unseen} crystals hold elements that the model does not know", err=True)
