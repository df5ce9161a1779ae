"""``farm train``: fits to what the store holds, measured and not kept.

Torch is loaded only when they run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.console import echo_json, settings_of
from trainer.cli.train_options import (
    ARCHITECTURES,
    PLAN_OPTIONS,
    PUBLISHED,
    RUN_OPTIONS,
    SPECTRUM_OPTIONS,
    TRANSFER_OPTIONS,
    with_options,
)

if TYPE_CHECKING:
    from trainer.trials.trial_plan import Kind


@click.group()
def train() -> None:
    """Fits to what the store holds, measured on the held-out materials and not kept.

    What `farm predict` uses comes from the farm's own refits.

    \b
    farm train transfer
    farm train transfer --architecture optimate --published --freeze embedding
    farm train direct --epochs 300 --seed 1 --json
    farm train transfer --folds 5
    farm train transfer --search 40 --study transfer.journal
    farm train curve --sizes 30,100,all --json > curve.json
    """


@train.command()
@with_options(*SPECTRUM_OPTIONS, *PLAN_OPTIONS, *RUN_OPTIONS)
@click.pass_context
def base(ctx: click.Context, /, **given: Any) -> None:
    """Learn IPA spectra: what a transfer starts from.

    \b
    farm train base
    farm train base --architecture optimate --folds 5
    """
    _run(ctx, "base", given)


@train.command()
@with_options(*SPECTRUM_OPTIONS, *TRANSFER_OPTIONS, *PLAN_OPTIONS, *RUN_OPTIONS)
@click.pass_context
def transfer(ctx: click.Context, /, **given: Any) -> None:
    """Learn RPA spectra from an IPA base, which is fitted first.

    \b
    farm train transfer
    farm train transfer --freeze embedding --freeze attention
    farm train transfer --architecture optimate --published
    farm train transfer --base 0003-8be2d1
    farm train transfer --split optimate_splits.json --json
    farm train transfer --search 40 --study transfer.journal
    """
    _run(ctx, "transfer", given)


@train.command()
@with_options(*SPECTRUM_OPTIONS, *PLAN_OPTIONS, *RUN_OPTIONS)
@click.pass_context
def direct(ctx: click.Context, /, **given: Any) -> None:
    """Learn RPA spectra from nothing.

    \b
    farm train direct --epochs 300 --seed 1
    farm train direct --resume direct.state
    """
    _run(ctx, "direct", given)


@train.command()
@with_options(PUBLISHED, *PLAN_OPTIONS, *RUN_OPTIONS)
@click.pass_context
def similarity(ctx: click.Context, /, **given: Any) -> None:
    """Learn how similar the RPA and IPA spectra of a material are: SC[RPA; IPA], one number.

    \b
    farm train similarity
    farm train similarity --published --folds 5
    """
    # One small network: the oscillators have no spectrum to give here.
    _run(ctx, "similarity", {**given, "architecture": "optimate"})


@train.command()
@click.option(
    "--architecture", type=click.Choice(ARCHITECTURES), default=ARCHITECTURES[0], show_default=True
)
@click.option("--sizes", default="30,100,300,all", show_default=True, help="Materials to learn from.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="How many.")
@click.option(
    "--small-cells", default="2,3,4", show_default=True, help="Most atoms of these fits; or none."
)
@click.option("--epochs", type=click.IntRange(min=1), help="At most, of every fit.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for `farm report --curve`.")
@click.pass_context
def curve(
    ctx: click.Context,
    architecture: str,
    sizes: str,
    seeds: int,
    small_cells: str,
    epochs: int | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """What more materials would bring: transfer, direct fits and small cells alone at several numbers.

    Each seed draws its own split by composition. Sizes that there are not are left out; `all` is what every
    seed has.

    \b
    farm train curve
    farm train curve --sizes 50,all --seeds 5 --small-cells none
    farm train curve --json > curve.json && farm report --html report.html --curve curve.json
    """
    from trainer.data.dataset import load_dataset
    from trainer.trials.learning_curve import curve_plan, learning_curve
    from trainer.trials.output import say_curve
    from trainer.trials.progress import curve_watcher, shown

    wanted = _numbers(sizes, "--sizes", word="all")
    cells = [] if small_cells == "none" else _numbers(small_cells, "--small-cells")
    plan = curve_plan(architecture, device=device, threads=threads, epochs=epochs)
    with shown(plain=as_json) as show:
        document = learning_curve(
            load_dataset(settings_of(ctx).store_path),
            plan,
            sizes=wanted,
            n_seeds=seeds,
            cells=[n for n in cells if n is not None],
            on_progress=curve_watcher(show),
        )
    if as_json:
        echo_json(document)
    else:
        say_curve(document)


@train.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def split(file: Path, sources: tuple[Path, ...]) -> None:
    """Write FILE, lists of ids, with the compositions of these ids; SOURCES are files of structures.

    A split by composition that is made from ids alone knows those at hand only. With compositions it is
    final from the start, whatever the store comes to hold.

    \b
    farm train split optimate_splits.json alexandria_*.json.bz2 > split.json
    farm train transfer --split split.json
    """
    from farm.crystal import Crystal
    from farm.sources import read_source
    from trainer.data.split_file import with_compositions

    read = (item for source in sources for item in read_source(source))
    document = with_compositions(file, (item for item in read if isinstance(item, Crystal)))
    known = document["compositions"]
    counts = [
        f"{sum(i in known for i in ids)} of {len(ids)} {name}"
        for name, ids in document.items()
        if name != "compositions"
    ]
    click.echo(f"farm: compositions known of {', '.join(counts)} ids", err=True)
    echo_json(document)


def _numbers(text: str, option: str, *, word: str = "") -> list[int | None]:
    """Whole numbers from 1 on, with commas between; None for ``word``."""
    found: list[int | None] = []
    for part in text.split(","):
        if word and part.strip() == word:
            found.append(None)
        elif part.strip().isdecimal() and int(part) > 0:
            found.append(int(part))
        else:
            also = f", or {word}" if word else ""
            raise click.UsageError(f"{option} {text!r}: {part!r} is no number from 1 on{also}")
    return found


def _run(ctx: click.Context, kind: Kind, given: dict[str, Any]) -> None:
    # Torch and all that stands on it.
    from trainer.trials.run import run

    run(ctx, kind, given)
