"""``farm train``: fits to what the store holds, measured and not kept.

Torch is loaded only when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farm.console import echo_json, settings_of
from farm.errors import InputError

if TYPE_CHECKING:
    from trainer.dataset import Dataset
    from trainer.network import SpectrumNetwork
    from trainer.split import SplitRule
    from trainer.trial_plan import Kind, TrialPlan

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
_ARCHITECTURES = ("oscillators", "optimate")
_PARTS = ("embedding", "attention", "head")
# What is not a value of the plan.
_NOT_CHANGES = (
    "architecture",
    "published",
    "freeze",
    "base",
    "split",
    "resume",
    "folds",
    "search",
    "study",
)

_PLAN_OPTIONS = (
    click.option("--epochs", type=click.IntRange(min=1), help="At most (default: that of the refits)."),
    click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="Step of Adam, at its largest."),
    click.option("--weight-decay", type=click.FloatRange(min=0), help="Of Adam, or AdamW for oscillators."),
    click.option("--batch-size", type=click.IntRange(min=2), help="Materials a step."),
)
_RUN_OPTIONS = (
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and order."
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--threads", type=click.IntRange(min=1), help="CPU threads of torch."),
    click.option("--split", type=_FILE, help='Ids in a file: {"train": [], "validation": [], "test": []}.'),
    click.option("--resume", type=_FILE, help="Note here how far it is; with the same command it goes on."),
    click.option("--folds", type=click.IntRange(min=2), help="Cross-validate by composition."),
    click.option("--search", type=click.IntRange(min=1), help="Try so many recipes, judged on folds."),
    click.option("--study", type=_FILE, help="Keep what --search has tried in a file, and go on from it."),
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
)
_SPECTRUM_OPTIONS = (
    click.option(
        "--architecture", type=click.Choice(_ARCHITECTURES), help="Default: oscillators, as in the refits."
    ),
    click.option("--loss", type=click.Choice(["l1", "similarity"]), help="l1 is the published one."),
    click.option(
        "--dropout", type=click.FloatRange(min=0, max=1, max_open=True), help="Of the oscillators' head."
    ),
)
_PUBLISHED = click.option("--published", is_flag=True, help="The published recipe, and network.")
_TRANSFER_OPTIONS = (
    _PUBLISHED,
    click.option(
        "--freeze",
        type=click.Choice([*_PARTS, "none"]),
        multiple=True,
        help="A part of the network that stays that of the base; may be repeated.",
    ),
    click.option(
        "--base", metavar="VERSION|PATH", help="Start from the IPA model of this checkpoint, fit none."
    ),
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add


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
@_with(*_SPECTRUM_OPTIONS, *_PLAN_OPTIONS, *_RUN_OPTIONS)
@click.pass_context
def base(ctx: click.Context, /, **given: Any) -> None:
    """Learn IPA spectra: what a transfer starts from.

    \b
    farm train base
    farm train base --architecture optimate --folds 5
    """
    _run(ctx, "base", given)


@train.command()
@_with(*_SPECTRUM_OPTIONS, *_TRANSFER_OPTIONS, *_PLAN_OPTIONS, *_RUN_OPTIONS)
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
@_with(*_SPECTRUM_OPTIONS, *_PLAN_OPTIONS, *_RUN_OPTIONS)
@click.pass_context
def direct(ctx: click.Context, /, **given: Any) -> None:
    """Learn RPA spectra from nothing.

    \b
    farm train direct --epochs 300 --seed 1
    farm train direct --resume direct.state
    """
    _run(ctx, "direct", given)


@train.command()
@_with(_PUBLISHED, *_PLAN_OPTIONS, *_RUN_OPTIONS)
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
    "--architecture", type=click.Choice(_ARCHITECTURES), default=_ARCHITECTURES[0], show_default=True
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
    from trainer.dataset import load_dataset
    from trainer.learning_curve import curve_plan, learning_curve
    from trainer.train_output import say_curve
    from trainer.train_progress import curve_watcher, shown

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
    """One fit, one a fold, or a search."""
    from trainer.dataset import load_dataset
    from trainer.train_output import say_folds, say_search, say_trial, tried_line
    from trainer.train_progress import search_watcher, show_step, shown
    from trainer.trial import cross_validate, trial

    _check_together(given)
    as_json = given.pop("as_json")
    plan = _plan(kind, given)
    dataset = load_dataset(settings_of(ctx).store_path)
    rule, start = _rule(given["split"], dataset), None
    if given.get("base") is not None:
        plan, start = _start(ctx, given["base"], plan, dataset, rule)
    with shown(plain=as_json) as show:
        if given["search"] is not None:
            from trainer.search import DEFAULT_FOLDS, search

            document = search(
                dataset,
                plan,
                given["search"],
                n_folds=given["folds"] or DEFAULT_FOLDS,
                rule=rule,
                study_file=given["study"],
                on_trial=lambda tried: click.echo(tried_line(tried), err=True),
                on_progress=search_watcher(show, given["search"]),
            )
        elif given["folds"] is not None:
            document = cross_validate(
                dataset, plan, given["folds"], rule=rule, on_progress=lambda step: show_step(show, step)
            )
        else:
            document = trial(
                dataset,
                plan,
                rule=rule,
                start=start,
                on_progress=lambda step: show_step(show, step),
                resume_from=given["resume"],
            )
    if given["search"] is not None:
        document["command"] = _command(kind, given, document["best"])
    if as_json:
        echo_json(document)
    elif given["search"] is not None:
        say_search(document)
    elif given["folds"] is not None:
        say_folds(document)
    else:
        say_trial(document)


def _check_together(given: dict[str, Any]) -> None:
    many = "--search" if given["search"] is not None else "--folds" if given["folds"] is not None else None
    if many and given["resume"] is not None:
        raise click.UsageError(
            f"--resume is of one fit, {many} makes several; a search goes on with --study"
        )
    if many and given.get("base") is not None:
        raise click.UsageError(f"--base with {many}: that model has seen what the folds are measured on")
    if given["study"] is not None and given["search"] is None:
        raise click.UsageError("--study goes with --search")
    if "none" in given.get("freeze", ()) and len(given["freeze"]) > 1:
        raise click.UsageError("--freeze none goes with no other part")


def _plan(kind: Kind, given: dict[str, Any]) -> TrialPlan:
    from trainer.trial_plan import trial_plan

    changes = {
        name: value for name, value in given.items() if name not in _NOT_CHANGES and value is not None
    }
    if frozen := tuple(part for part in given.get("freeze", ()) if part != "none"):
        changes["frozen"] = frozen
    published = given.get("published", False)
    # What was published was published of one network.
    architecture = given.get("architecture") or ("optimate" if published else "oscillators")
    return trial_plan(kind, architecture=architecture, published=published, changes=changes)


def _rule(path: Path | None, dataset: Dataset) -> SplitRule:
    from trainer.split import DEFAULT_RULE
    from trainer.split_file import rule_from_file

    return DEFAULT_RULE if path is None else rule_from_file(path, dataset.crystals)


def _start(
    ctx: click.Context, reference: str, plan: TrialPlan, dataset: Dataset, rule: SplitRule
) -> tuple[TrialPlan, SpectrumNetwork]:
    """The IPA model of a checkpoint, and the plan for its widths."""
    from trainer.registry import Registry
    from trainer.trial_plan import starting_from

    model, card = Registry(settings_of(ctx).checkpoints_dir).load(reference, "ipa")
    if (n := model.config.n_energies) != dataset.energies_ev.size:
        raise InputError(
            f"{card.version} predicts {n} energies, the store holds {dataset.energies_ev.size}",
            fix="Start from a checkpoint of the same grid",
        )
    if card.split.get("hash") != rule.hash:
        click.echo(
            f"farm: {card.version} was fitted under another split and may have seen IPA spectra of what is "
            "held out here; --split FILE holds out what its authors did",
            err=True,
        )
    return starting_from(plan, model.config), model


def _command(kind: Kind, given: dict[str, Any], best: dict[str, Any]) -> str:
    """The line that makes the best fit of a search, to be measured on the held-out materials."""
    words = ["farm", "train", kind]
    skipped = ("folds", "search", "study", "resume")
    for name, value in {**given, **best}.items():
        if name in skipped or value is None or value == () or value is False:
            continue
        if kind == "similarity" and name == "architecture":
            continue
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [word for part in value for word in (option, part)]
        else:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    return " ".join(words)
