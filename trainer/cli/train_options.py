"""The options of `farm train`, by what they steer; without torch, so that --help is quick."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from farm.finite import Finite

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, dir_okay=False)
ARCHITECTURES = ("oscillators", "optimate")
PARTS = ("embedding", "attention", "head")
PLAN_OPTIONS = (
    click.option("--epochs", type=click.IntRange(min=1), help="At most (default: that of the refits)."),
    click.option("--lr", type=Finite(min=0, min_open=True), help="Step of Adam, at its largest."),
    click.option("--weight-decay", type=Finite(min=0), help="Of Adam, or AdamW for oscillators."),
    click.option("--batch-size", type=click.IntRange(min=2), help="Materials a step."),
)
RUN_OPTIONS = (
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
SPECTRUM_OPTIONS = (
    click.option(
        "--architecture", type=click.Choice(ARCHITECTURES), help="Default: oscillators, as in the refits."
    ),
    click.option("--loss", type=click.Choice(["l1", "similarity"]), help="l1 is the published one."),
    click.option("--dropout", type=Finite(min=0, max=1, max_open=True), help="Of the oscillators' head."),
)
PUBLISHED = click.option("--published", is_flag=True, help="The published recipe, and network.")
TRANSFER_OPTIONS = (
    PUBLISHED,
    click.option(
        "--freeze",
        type=click.Choice([*PARTS, "none"]),
        multiple=True,
        help="A part of the network that stays that of the base; may be repeated.",
    ),
    click.option(
        "--base", metavar="VERSION|PATH", help="Start from the IPA model of this checkpoint, fit none."
    ),
)


def with_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add
