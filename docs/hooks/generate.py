"""What the site takes from the code when it is built: commands, settings, protocol, metrics, diagnoses.

A page has ``<!-- generated: settings -->`` where a table goes; the pages of the commands are made whole. So
the reference cannot say what the code does not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import commands  # noqa: E402 - beside this file, and not a package
import diagnoses  # noqa: E402

# Defaults that depend on the machine or on other settings.
_COMPUTED = {"home": "`farm-home`", "slots": "CPU cores", "scratch_dir": "`scratch` in home"}
_MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell would end it."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple | list):
        return ", ".join(f"{number:g}" for number in value)
    return f"`{value}`" if value != "" else "empty"


def settings_table() -> str:
    """Every field of farm.toml, its variable and its default."""
    from pydantic_core import PydanticUndefined

    from farm.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = _shown(field.default) if field.default is not PydanticUndefined else ""
        default = _COMPUTED.get(name, default)
        rows.append((f"`{name}`", f"`FARM_{name.upper()}`", default, field.description or ""))
    return table(("setting", "environment", "default", "what it is"), rows)


def protocol_table() -> str:
    """Every field of a protocol with its unit, kind and value in both presets."""
    from farm.protocol import PRESETS, Protocol

    paper, demo = (PRESETS[name].model_dump() for name in ("paper", "demo"))
    rows = []
    for name, field in Protocol.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)  # noqa: S101 - as farm/protocol.py makes them
        other = _shown(demo[name]) if demo[name] != paper[name] else ""
        unit, kind = str(extra["unit"]), str(extra["kind"])
        rows.append((f"`{name}`", _shown(paper[name]), other, unit, kind, field.description or ""))
    return table(("field", "`paper`", "`demo`", "unit", "kind", "what it is"), rows)


def metrics_table() -> str:
    """What the dashboard's /metrics serves."""
    from farm.metrics import METRICS

    rows = [
        (
            f"`{metric.name}`",
            str(metric.kind),
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.help,
        )
        for metric in METRICS
    ]
    return table(("metric", "kind", "labels", "what it is"), rows)


def transitions_table() -> str:
    """From which state of a job to which."""
    from farm.job import FINAL_STATES, TRANSITIONS, JobState

    rows = []
    for state in JobState:
        to = ", ".join(f"`{other}`" for other in JobState if other in TRANSITIONS[state])
        rows.append((f"`{state}`", "yes" if state in FINAL_STATES else "", to))
    return table(("state", "final", "may become"), rows)


def errors_tree() -> str:
    """The tree that farm/errors.py draws, as text."""
    import farm.errors

    tree = (farm.errors.__doc__ or "").split("::", 1)[1]
    return "```text\n" + "\n".join(line[4:] for line in tree.strip("\n").splitlines()) + "\n```"


GENERATED: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "protocol": protocol_table,
    "metrics": metrics_table,
    "transitions": transitions_table,
    "errors": errors_tree,
    "diagnoses-pw": lambda: table(diagnoses.HEAD, diagnoses.rows("pw")),
    "diagnoses-yambo": lambda: table(diagnoses.HEAD, diagnoses.rows("yambo")),
    "diagnoses-job": lambda: table(diagnoses.JOB_HEAD, diagnoses.rows("job")),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the commands."""
    for uri, text in commands.pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put every table where its marker is."""
    return _MARKER.sub(lambda match: GENERATED[match[1]](), markdown)
