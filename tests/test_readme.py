"""The README's commands exist, with the options it gives them; its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from farm.cli.main import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:console|bash)\n(.*?)```", README, flags=re.DOTALL)


def typed() -> list[str]:
    """What a reader would type: lines of shell blocks, in transcripts those behind a prompt."""
    lines = []
    for block in BLOCKS:
        rows = block.splitlines()
        prompted = [row.removeprefix("$ ") for row in rows if row.startswith("$ ")]
        lines += prompted or rows
    commands = [part.strip() for line in lines for part in re.split(r"&&|\||;", line.split("  #")[0])]
    return [re.sub(r"^(\w+=\S+ )+", "", command) for command in commands if command]


def test_there_is_something_to_type() -> None:
    assert sum(line.startswith("farm ") for line in typed()) > 10
    assert {"make run", "make test"} <= set(typed())


@pytest.mark.parametrize("line", sorted({line for line in typed() if line.startswith("farm ")}))
def test_every_farm_command_is_understood(line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "&"]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    # Parses every option and argument; nothing is run.
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize("line", sorted({line for line in typed() if line.startswith("make ")}))
def test_every_make_target_exists(line: str) -> None:
    for target in line.split()[1:]:
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()
