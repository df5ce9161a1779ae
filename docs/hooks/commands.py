"""The pages of the commands, one a section of ``farm --help``, from what click knows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

import click

from farm.cli.main import _SECTIONS, cli

_INTRODUCTIONS = {
    "Work": "From structures to spectra, and what is there.",
    "Steer": "What is computed next, and what no more.",
    "Model": "Predictions, fits and versions of the model.",
    "Roles": "The processes of a farm, one each.",
    "Tools": "What helps around it, or alone.",
}


def sections() -> dict[str, list[str]]:
    """Names of all commands by section, as ``farm --help`` lists them."""
    known = cli.list_commands(click.Context(cli))
    return {title: [name for name in names if name in known] for title, names in _SECTIONS.items()}


def pages() -> dict[str, str]:
    """Address of a page -> its Markdown."""
    made = {}
    for title, names in sections().items():
        parts = [f"# {title}\n\n{_INTRODUCTIONS.get(title, '')}"]
        for name in names:
            command = cli.get_command(click.Context(cli, info_name="farm"), name)
            if command is None:
                raise ValueError(f"no command {name}")
            parts += _describe(command, click.Context(command, info_name=f"farm {name}"))
        made[f"reference/commands/{title.lower()}.md"] = "\n\n".join(parts) + "\n"
    return made


def _describe(command: click.Command, context: click.Context, level: int = 2) -> Iterator[str]:
    yield f"{'#' * level} {context.info_name}"
    arguments = " ".join(piece for piece in command.collect_usage_pieces(context))
    yield f"```text\n{context.info_name} {arguments}\n```"
    yield from _prose(command.help or "")
    if table := _options(command, context):
        yield table
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                child_context = click.Context(child, info_name=f"{context.info_name} {name}")
                yield from _describe(child, child_context, level + 1)


def _prose(text: str) -> Iterator[str]:
    """Paragraphs as they are; what click prints line by line is examples, or a list of words."""
    for paragraph in re.split(r"\n\s*\n", text.replace("\f", "")):
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            language = "bash" if lines[1].strip().startswith("farm ") else "text"
            yield f"```{language}\n{dedent(chr(10).join(lines[1:])).rstrip()}\n```"
        elif paragraph.strip():
            yield _escape(" ".join(line.strip() for line in lines))


def _options(command: click.Command, context: click.Context) -> str:
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            continue
        names, text = record
        rows.append(f"| `{names}` | {_escape(text)} |")
    return "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""


def _escape(text: str) -> str:
    """Outside of code, where a backslash would be shown."""
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"([*_>|\[\]$])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)
