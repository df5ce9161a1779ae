"""What `farm train` prints when it is read by people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from trainer.trials.learning_curve import curve_table
from trainer.trials.search import Tried

_LABELS = {
    "median_sc": "median SC",
    "mean_sc": "mean SC",
    "median_mse": "MSE",
    "median_mae": "MAE",
    "mean_error": "mean error",
    "median_error": "median error",
}


def say_trial(document: Mapping[str, Any]) -> None:
    """One fit."""
    click.echo(
        f"{document['kind']}, {document['architecture']}: {document['n_learning']} materials, best epoch "
        f"{document['best_epoch'] + 1} of {document['epochs']}, {document['seconds']:.0f} s"
    )
    for name, found in document["metrics"].items():
        numbers = ", ".join(f"{label} {found[key]:.3f}" for key, label in _LABELS.items() if key in found)
        click.echo(f"  {name:11s} over {found['n']} held out: {numbers}")


def say_folds(document: Mapping[str, Any]) -> None:
    """One fit a fold."""
    folds = document["folds"]
    n = sum(record["n_held_out"] for record in folds)
    click.echo(
        f"{document['kind']}, {document['architecture']}: {n} materials, each measured in one of "
        f"{len(folds)} folds by composition; mean and standard deviation over folds"
    )
    for name, mean in document["mean"].items():
        spread = document["standard_deviation"][name]
        numbers = ", ".join(
            f"{label} {mean[key]:.3f} ± {spread[key]:.3f}" for key, label in _LABELS.items() if key in mean
        )
        click.echo(f"  {name:11s} {numbers}")


def say_search(document: Mapping[str, Any]) -> None:
    """The best of a search, and how to make it."""
    measure = _LABELS[document["judged_by"]]
    click.echo(
        f"{document['n_trials']} recipes, {document['n_ended_early']} of them ended early; best mean over "
        f"{document['n_folds']} folds: {measure} {document['value']:.3f} "
        f"(the recipe there was: {_number(document['trials'][0]['value'])})"
    )
    click.echo(document["command"])


def tried_line(tried: Tried) -> str:
    """One trial of a search."""
    told = ", ".join(f"{name} {value:g}" for name, value in tried.parameters.items())
    return f"trial {tried.number + 1}: {told}: {_number(tried.value)}"


def _number(value: float | None) -> str:
    return "ended early" if value is None else f"{value:.3f}"


def say_curve(document: Mapping[str, Any]) -> None:
    """The points of a learning curve, mean and standard deviation over seeds."""
    click.echo(f"{document['architecture']}: held-out SC, mean and standard deviation over seeds")
    click.echo(f"  {'':24s} {'materials':>9s} {'seeds':>6s} {'median SC':>15s} {'mean SC':>8s}")
    for name, n, seeds, median, spread, mean in curve_table(document):
        click.echo(f"  {name:24s} {n:9d} {seeds:6d} {f'{median:.3f} ± {spread:.3f}':>15s} {mean:8.3f}")
    click.echo(f"  {'IPA taken as RPA':24s} {'':9s} {'':6s} {document['ipa_as_rpa']:7.3f}")
