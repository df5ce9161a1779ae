"""The tables of diagnoses: meaning, what the farm does by itself, what a person can do."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from meanings import JOB, PW, YAMBO, Meaning

from workers.diagnosis import Severity
from workers.qe import remedies as qe_remedies
from workers.yambo import remedies as yambo_remedies

WORKERS = Path(__file__).parents[2] / "workers"
HEAD = ("diagnosis", "what it means", "what the farm does by itself", "what you can do")
JOB_HEAD = ("diagnosis", "what it means, and what the farm does", "what you can do")

# Where the farm has no remedy, or has used them up; as workers/supervise.py decides.
_AFTER = {
    Severity.NUMERICAL: "the job has `failed`",
    Severity.STRUCTURE: "the job ends as `metal` or `failed`, with the reason",
    Severity.INPUT: "the job has `failed`: its input was wrong",
    Severity.MACHINE: "the job goes back uncounted, this worker pauses and says why",
    Severity.CONFIGURATION: "the job goes back uncounted, this worker pauses and says what is missing",
}
_AFTER_MEMORY = "the job goes to the next larger slot class"
_AFTER_KILL = "the job goes to other workers; after `max_attempts` it has `failed`"

_FILES: Mapping[str, tuple[str, ...]] = {
    "pw": ("qe/failures.py", "qe/verdict.py"),
    "yambo": ("yambo/failures.py", "yambo/verdict.py", "diagnose/verdicts.py"),
}
_MEANINGS: Mapping[str, Mapping[str, Meaning]] = {"pw": PW, "yambo": YAMBO, "job": JOB}
# Found by `farm diagnose` in other people's directories; a worker never leaves them.
_FOR_PEOPLE = frozenset(
    {"not_run", "no_output", "setup_missing", "save_incomplete", "keyword_misspelt", "input_not_read"}
)


def _literal(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def found_in(file: str) -> Iterator[tuple[str, str, Severity]]:
    """Name, advice and severity of every Signature and Diagnosis that a file makes with a literal name."""
    for node in ast.walk(ast.parse((WORKERS / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in ("Signature", "Diagnosis"):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        severity = given.get("severity")
        level = Severity[severity.attr] if isinstance(severity, ast.Attribute) else Severity.NUMERICAL
        name = _literal(given.get("name"))
        constant = getattr(given.get("name"), "id", "")
        if not name and constant.isupper():
            name = constant.lower()  # VERSION_MISMATCH = "version_mismatch"
        yield name, _literal(given.get("advice")), level


def _remedies(program: str) -> dict[str, list[str]]:
    ladders: Sequence[Mapping[str, Sequence[Any]]] = (
        (qe_remedies.REMEDIES,)
        if program == "pw"
        else (yambo_remedies.P2Y_REMEDIES, yambo_remedies.SETUP_REMEDIES, yambo_remedies.RESPONSE_REMEDIES)
    )
    names: dict[str, list[str]] = {}
    for ladder in ladders:
        for diagnosis, remedies in ladder.items():
            known = names.setdefault(diagnosis, [])
            known += [remedy.name for remedy in remedies if remedy.name not in known]
    return names


def _does(name: str, severity: Severity, tried: Sequence[str]) -> str:
    if name in _FOR_PEOPLE:
        return "`farm diagnose` names it; the farm's own runs are not left so"
    after = _AFTER[severity]
    if name == "out_of_memory":
        after = _AFTER_MEMORY
    elif name in ("killed", "silent"):
        after = _AFTER_KILL
    return f"{', then '.join(tried)}; else {after}" if tried else after


def rows(which: str) -> Iterator[tuple[str, ...]]:
    """The rows of a table: of ``pw``, ``yambo`` or ``job``."""
    if which == "job":
        for name, said in JOB.items():
            yield f"`{name}`", said.meaning, said.advice
        return
    advice: dict[str, tuple[str, Severity]] = {}
    for file in _FILES[which]:
        for name, text, severity in found_in(file):
            if name not in advice or not advice[name][0]:
                advice[name] = text, severity
    tried = _remedies(which)
    for name, said in _MEANINGS[which].items():
        text, severity = advice.get(name, ("", Severity.NUMERICAL))
        yield f"`{name}`", said.meaning, _does(name, severity, tried.get(name, ())), said.advice or text
