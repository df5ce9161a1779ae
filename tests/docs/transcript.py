"""Commands and files of a page, followed word for word; what they print beside what the page shows."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

_FENCE = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$', re.DOTALL | re.MULTILINE
)
_END = "::ended with"
# What differs from run to run: seconds, megabytes, versions of the model.
_MEASURED = re.compile(r"\b[\d.,]+ (CPU s|ms|s|MB|GB|min)\b|\b\d{4}-[0-9a-f]{6}\b")
_MEASURED_COLUMNS = re.compile(r"(?:predicted )?CPU s|wall s|peak MB|disk MB")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Command:
    """What is typed, and what the page shows of its output."""

    typed: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class File:
    """What a reader saves under a name."""

    name: str
    text: str


def read_page(text: str) -> list[Command | File]:
    """The commands and files of a page in order."""
    steps: list[Command | File] = []
    for fence in _FENCE.finditer(text):
        if fence["title"]:
            steps.append(File(fence["title"], fence["body"]))
        elif fence["language"] == "console":
            for part in re.split(r"^\$ ", fence["body"], flags=re.MULTILINE)[1:]:
                typed, *shown = part.rstrip("\n").split("\n")
                steps.append(Command(typed, tuple(line.rstrip() for line in shown)))
    return steps


def follow(steps: Sequence[Command | File], directory: Path, environment: Mapping[str, str]) -> list[str]:
    """Do all steps in one shell; returns what each command printed, and fails at the first that fails."""
    lines = ["set +e"]
    for step in steps:
        if isinstance(step, File):
            lines += [f"mkdir -p \"$(dirname '{step.name}')\""]
            lines += [f"cat > '{step.name}' <<'END_OF_FILE'\n{step.text}END_OF_FILE"]
        else:
            lines += [step.typed, f'code=$?; echo; echo "{_END} $code"; [ $code = 0 ] || exit 1']
    ran = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=directory,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    outputs = re.split(rf"\n{_END} \d+\n", ran.stdout)
    if ran.returncode:
        typed = [step.typed for step in steps if isinstance(step, Command)]
        raise AssertionError(f"$ {typed[len(outputs) - 2]}\n{outputs[-2]}")
    return outputs[:-1]


def difference(shown: Sequence[str], printed: str) -> str:
    """The first shown line that was not printed in its place; empty where all were.

    A line ``...`` stands for any lines, ``...`` within a line for any text.
    """
    expected = _comparable(shown)
    actual = _comparable([line.rstrip() for line in printed.strip("\n").split("\n")])
    place, may_skip = 0, False
    for line in expected:
        if line == "...":
            may_skip = True
            continue
        while place < len(actual) and not _agree(line, actual[place]) and may_skip:
            place += 1
        if place == len(actual) or not _agree(line, actual[place]):
            return (
                f"{line!r} is not {actual[place]!r}" if place < len(actual) else f"{line!r} was not printed"
            )
        place, may_skip = place + 1, False
    if place < len(actual) and not may_skip and any(actual[place:]):
        return f"{actual[place]!r} was printed, too"
    return ""


def _comparable(lines: Sequence[str]) -> list[str]:
    """Without what differs from run to run: measurements, and the order in which jobs end."""
    spans: list[tuple[int, int]] = []
    masked = []
    for line in lines:
        if not line.startswith(" "):
            spans = []
        elif found := [match.span() for match in _MEASURED_COLUMNS.finditer(line)]:
            spans = found
            masked.append(line)
            continue
        for start, end in spans:
            line = re.sub(r"[\d.]", "#", line[:end][start:]).join((line[:start], line[end:]))
        masked.append(
            _MEASURED.sub(lambda match: f"# {match[1]}" if match[1] else "#", re.sub(r"#+", "#", line))
        )
    ordered: list[str] = []
    for kind, group in groupby(masked, key=_order_of):
        together = list(group)
        ordered += sorted(together) if kind else together
    return [re.sub(r" +", " ", line).rstrip() for line in ordered]


def _order_of(line: str) -> str:
    """What comes in an order of its own: jobs as they end, rows of a table by a measurement."""
    if line.startswith("done "):
        return "job"
    return "row" if line.startswith(" ") and line.endswith("#") else ""


def _agree(shown: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(_NUMBER.sub("0", part)) for part in shown.split("..."))
    if not re.fullmatch(pattern, _NUMBER.sub("0", printed)):
        return False
    if "..." in shown:
        return True
    pairs = zip(_NUMBER.findall(shown), _NUMBER.findall(printed), strict=True)
    return all(math.isclose(float(a), float(b), rel_tol=0.02, abs_tol=0.002) for a, b in pairs)
