"""What a command of `farm train` does: one fit, one a fold, or a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from farm.console import echo_json, settings_of
from farm.errors import InputError
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.split import DEFAULT_RULE, SplitRule
from trainer.data.split_file import rule_from_file
from trainer.networks.network import SpectrumNetwork
from trainer.trials.output import say_folds, say_search, say_trial, tried_line
from trainer.trials.progress import search_watcher, show_step, shown
from trainer.trials.search import DEFAULT_FOLDS, search
from trainer.trials.trial import cross_validate, trial
from trainer.trials.trial_plan import Kind, TrialPlan, starting_from, trial_plan

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


def run(ctx: click.Context, kind: Kind, given: dict[str, Any]) -> None:
    """One fit, one a fold, or a search."""

    _check_together(given)
    as_json = given.pop("as_json")
    plan = _plan(kind, given)
    dataset = load_dataset(settings_of(ctx).store_path)
    rule, start = _rule(given["split"], dataset), None
    if given.get("base") is not None:
        plan, start = _start(ctx, given["base"], plan, dataset, rule)
    with shown(plain=as_json) as show:
        if given["search"] is not None:
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

    return DEFAULT_RULE if path is None else rule_from_file(path, dataset.crystals)


def _start(
    ctx: click.Context, reference: str, plan: TrialPlan, dataset: Dataset, rule: SplitRule
) -> tuple[TrialPlan, SpectrumNetwork]:
    """The IPA model of a checkpoint, and the plan for its widths."""

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
