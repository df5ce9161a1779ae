"""What every command line of the project needs: settings, the backlog, logs, JSON, stopping."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.backlog import Backlog
from farm.broker import broker_url, connect
from farm.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console


def settings_of(ctx: click.Context, **flags: Any) -> Settings:
    """Settings from farm.toml, the environment, ``farm --home`` and this command's flags."""
    return load_settings({**(ctx.obj or {}), **flags})


@contextmanager
def open_backlog(settings: Settings) -> Iterator[Backlog]:
    """The backlog, on the configured Redis or the embedded one."""
    with broker_url(settings) as url:
        client = connect(url)
        try:
            yield Backlog(client, name=settings.name)
        finally:
            client.close()


def echo_json(document: Any) -> None:
    """One JSON document on stdout, nothing else."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def figure_path(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    path: Path | None,
) -> Path | None:
    """For click: a file whose name tells a format; without, the figure would come under another name."""
    if path is not None and not path.suffix:
        raise click.BadParameter(f"{path} tells no format. Name a .png, .pdf or .svg file")
    return path


def screen(*, stderr: bool = False) -> Console:
    """Where tables go: as wide as the terminal, and never folded into a pipe."""
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=240)


def duration(seconds: float) -> str:
    """In the unit that leaves two or three digits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def begin_role() -> None:
    """What every long-lived role does first: say what it does, and end with its supervisor.

    The supervisor holds the other end of a role's stdin; when it is gone, even by kill -9, the role
    reads the end of the file and stops as if told to.
    """
    logging.getLogger().setLevel(logging.INFO)
    if os.environ.get("FARM_SUPERVISED"):
        threading.Thread(target=_stop_at_end_of_stdin, name="supervisor watch", daemon=True).start()


def _stop_at_end_of_stdin() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set, and a terminal that is closed, but not under nohup."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    return stop
