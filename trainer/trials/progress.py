"""How far `farm train` is, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from farm.console import duration, screen
from trainer.trials.one_fit import Step

# (what runs, the part of it that is done, numbers to look at)
Show = Callable[[str, float, str], None]

_LINE_EVERY_S = 10.0


@contextlib.contextmanager
def shown(*, plain: bool) -> Iterator[Show]:
    """Where to show progress; ``plain``: in lines even on a terminal."""
    if plain or not sys.stderr.isatty():
        yield Lines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen(stderr=True), transient=True) as bars:
        yield Bars(bars)


class Lines:
    """A line when something new runs, and then every ten seconds, with the time it will still take."""

    def __init__(
        self, echo: Callable[[str], None] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._echo = echo or (lambda text: click.echo(text, err=True))
        self._clock = clock
        self._title, self._started_s, self._said_s, self._started_at = "", 0.0, 0.0, 0.0

    def __call__(self, title: str, done: float, numbers: str) -> None:
        now_s = self._clock()
        is_new = title != self._title
        if is_new:
            # What is done already is no measure of how fast it goes.
            self._title, self._started_s, self._started_at = title, now_s, done
        elif now_s - self._said_s < _LINE_EVERY_S:
            return
        self._said_s = now_s
        rate = (done - self._started_at) / (now_s - self._started_s) if now_s > self._started_s else 0.0
        to_go = f", about {duration((1.0 - done) / rate)} to go" if rate > 0.0 else ""
        self._echo(f"{title}: {numbers}{to_go}")


class Bars:
    """One bar, which begins anew with what runs."""

    def __init__(self, bars: Any) -> None:
        self._bars, self._title, self._task = bars, "", None

    def __call__(self, title: str, done: float, numbers: str) -> None:
        if title != self._title:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._title = title
            self._task = self._bars.add_task(title, total=1.0, numbers=numbers)
        self._bars.update(self._task, completed=done, numbers=numbers)


def step_numbers(step: Step) -> str:
    """Epoch, losses and the similarity on the validation part."""
    text = f"epoch {step.epoch + 1} of {step.epochs}, loss {step.loss:.4f}"
    if step.validation_loss != float("inf"):
        text += f", validation {step.validation_loss:.4f}"
    return text if step.validation_sc is None else f"{text}, SC {step.validation_sc:.3f}"


def show_step(show: Show, step: Step, *, before: str = "") -> None:
    """One epoch of a fit."""
    show(f"{before}{step.stage}", (step.epoch + 1) / step.epochs, step_numbers(step))


def curve_watcher(show: Show) -> Callable[[int, int, str, int, int], None]:
    """Of a learning curve: fits done and to come, so that the time to go is that of all of them."""

    def watch(number: int, n_fits: int, name: str, epoch: int, epochs: int) -> None:
        done = (number - 1 + (epoch + 1) / epochs) / n_fits
        show("learning curve", done, f"fit {number} of {n_fits}, {name}, epoch {epoch + 1} of {epochs}")

    return watch


def search_watcher(show: Show, n_trials: int) -> Callable[[int, Step], None]:
    """Of a search: which trial runs, and where its fit is."""
    return lambda n_done, step: show_step(show, step, before=f"trial {n_done + 1} of {n_trials}: ")
