"""A line that somebody would type, taken as the command line takes it: parsed, and not run."""

from __future__ import annotations

import shlex

import click

from farm.cli.main import cli


def parse(line: str) -> None:
    """Fails where ``farm`` has no such command, option or argument."""
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "&"]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    command.make_context(command.name, words, parent=context)
