"""What went wrong with a program, and what to do about it: evidence -> Diagnosis -> bounded Remedies.

Shared by all programs and pure; each program's own signatures and remedies are in its ``failures.py`` and
``remedies.py``. Exit codes are no evidence: pw.x, p2y and yambo return 0 after failures of every kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Input = TypeVar("Input")

# Of a line of output, more than this says nothing more.
_LONGEST_EVIDENCE = 200


class RunOutcome(StrEnum):
    """How a run ended, whatever its exit code says."""

    OK = "ok"
    METAL = "metal"
    UNCONVERGED = "unconverged"
    FAILED = "failed"
    INCOMPLETE = "incomplete"  # killed, out of time, cut off, or still running


class Severity(StrEnum):
    """Whose fault it is, which decides what happens when the remedies are used up."""

    NUMERICAL = "numerical"  # the job failed
    STRUCTURE = "structure"  # the crystal cannot be treated
    INPUT = "input"  # our input is wrong
    MACHINE = "machine"  # the job is given back uncounted
    CONFIGURATION = "configuration"  # something must be installed


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The line that says so.

    file: name as it was given, or "" where nothing was written
    line: from 1; 0 where the whole file (or its absence) is the evidence
    text: the line, or what is missing, in words
    """

    file: str = ""
    line: int = 0
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return place + self.text


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What went wrong.

    name:    one word of the catalogue, stable: results are counted by it
    outcome: what the run's output is worth
    advice:  what a person does about it, one sentence; "" where the remedies say it all
    """

    name: str
    evidence: Evidence
    severity: Severity = Severity.NUMERICAL
    outcome: RunOutcome = RunOutcome.FAILED
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.evidence})"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Text by which a failure is known; ``pattern`` is a regular expression, searched in whole files."""

    name: str
    pattern: str
    severity: Severity = Severity.NUMERICAL
    outcome: RunOutcome = RunOutcome.FAILED
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Remedy(Generic[Input]):
    """One change of an input.

    change:          the changed input, or None where the remedy does not apply
    changes_physics: the spectrum is then tagged, and not trained on
    clean:           start again from an empty output directory
    limit:           times it may be used in one step
    """

    name: str
    change: Callable[[Input], Input | None]
    changes_physics: bool = False
    clean: bool = True
    limit: int = 1


def recognise(signatures: Sequence[Signature], texts: Mapping[str, str]) -> Diagnosis | None:
    """The first signature that is found, in the order of ``signatures``, then of ``texts``.

    texts: file name -> text
    """
    for signature in signatures:
        for file, text in texts.items():
            if match := re.search(signature.pattern, text):
                return Diagnosis(
                    name=signature.name,
                    evidence=evidence_at(file, text, match),
                    severity=signature.severity,
                    outcome=signature.outcome,
                    advice=signature.advice,
                )
    return None


def evidence_at(file: str, text: str, match: re.Match[str]) -> Evidence:
    """The line on which a match ends."""
    end = text.find("\n", match.end())
    start = text.rfind("\n", 0, match.end()) + 1
    line = " ".join(text[start : end if end >= 0 else len(text)].split())
    return Evidence(file=file, line=text.count("\n", 0, start) + 1, text=line[:_LONGEST_EVIDENCE])


def find_evidence(file: str, text: str, pattern: str, otherwise: str) -> Evidence:
    """The first line with ``pattern``; ``otherwise`` where there is none."""
    match = re.search(pattern, text, re.MULTILINE)
    return evidence_at(file, text, match) if match else Evidence(file=file, text=otherwise)


def last_line(file: str, text: str, otherwise: str) -> Evidence:
    """The last line that says something; ``otherwise`` where there is none."""
    lines = text.splitlines()
    for number in range(len(lines), 0, -1):
        if stripped := lines[number - 1].strip():
            return Evidence(file=file, line=number, text=stripped[:_LONGEST_EVIDENCE])
    return Evidence(file=file, text=otherwise)


def next_remedy(
    remedies: Mapping[str, Sequence[Remedy[Input]]],
    diagnosis: Diagnosis,
    used: Sequence[str],
    current: Input,
) -> tuple[Remedy[Input], Input] | None:
    """The first remedy for a diagnosis that is not used up and applies, with the changed input.

    remedies: diagnosis name -> what to try, in order
    used:     names of the remedies already applied in this step, in any order

    None: give up.
    """
    for remedy in remedies.get(diagnosis.name, ()):
        if used.count(remedy.name) >= remedy.limit:
            continue
        changed = remedy.change(current)
        if changed is not None:
            return remedy, changed
    return None
