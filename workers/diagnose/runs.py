"""Which runs of pw.x, p2y and yambo a directory tree holds; pure.

Files are known by what they say, not by what they are called, as far as that is possible. Of several
attempts at the same (``pw-1.out``, ``pw-2.out``; ``r-x_01``) the last counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workers.diagnose.tree import Tree
from workers.qe.printout import PW_BANNER

_PROGRAMS = ("pw.x", "p2y", "yambo")
_HEAD_CHARACTERS = 4000
_PW_INPUT = re.compile(r"^\s*&(control|system)\b", re.IGNORECASE | re.MULTILINE)
_YAMBO_INPUT = re.compile(
    r"^\s*(?:optics|chi|setup|dipoles)\b|^\s*%?\s*(?:BndsRnX|ETStpsX|NGsBlkX)", re.MULTILINE
)
_P2Y_LOG = re.compile(r"l[_-]p2y(_\d\d)?$")
_REPORT = re.compile(r"r[_-](?P<job>.*?)(?P<repeat>_\d\d)?$")
_LOOSE = re.compile(r"^CRASH$|stderr|stdout|\.(?:err|log|[oe]\d+)$|^slurm-.*\.out$")
# Our own attempts: others may give numbers to what is not the same again.
_ATTEMPT = re.compile(r"pw-\d+$")


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """Paths of one run, relative to the tree.

    program: "pw.x", "p2y" or "yambo"
    place:   its directory, "" for the tree's own
    main:    path of its output (pw.x), log (p2y) or report (yambo); may be a file that is not there
    others:  further texts: CRASH, logs, standard error
    asked:   path of its input, where that is known
    """

    program: str
    place: str
    main: str
    others: tuple[str, ...] = ()
    asked: str | None = None


def find_runs(tree: Tree) -> list[FoundRun]:
    """The last attempts of all runs, in the order in which programs follow one another, then by directory.

    Inputs without any output count as runs only where there is nothing else.
    """
    places = sorted({_place(path) for path in [*tree.texts, *tree.sizes]}, key=_natural)
    runs: list[FoundRun] = []
    for place in places:
        names = {path.rpartition("/")[2]: path for path in tree.texts if _place(path) == place}
        runs += _pw_runs(tree, place, names)
        runs += _p2y_runs(place, names)
        runs += _yambo_runs(tree, place, names)
    started = [run for run in runs if run.main in tree.texts or run.program == "yambo"]
    return sorted(started or runs, key=lambda run: _PROGRAMS.index(run.program))


def _pw_runs(tree: Tree, place: str, names: dict[str, str]) -> Iterator[FoundRun]:
    inputs = {n: p for n, p in names.items() if _PW_INPUT.search(tree.texts[p][:_HEAD_CHARACTERS])}
    outputs = {n: p for n, p in names.items() if PW_BANNER in tree.texts[p][:_HEAD_CHARACTERS]}
    if not outputs:
        # Where mpirun failed, pw.x has not even printed its name.
        outputs = {n: p for n, p in names.items() if inputs and n.endswith(".out") and not tree.texts[p]}
        outputs = outputs or {f"{_stem(n)}.out": p.replace(n, f"{_stem(n)}.out") for n, p in inputs.items()}
    loose = [path for name, path in names.items() if _LOOSE.search(name) and name not in outputs]
    for name, path in _last_attempts(outputs).items():
        own = [other for other in loose if _stem(other.rpartition("/")[2]) == _stem(name)]
        ended = "JOB DONE" in tree.texts.get(path, "")
        # What is not named after a run belongs to those that did not end.
        others = own if ended else [p for p in loose if p in own or _is_nobodys(p, outputs)]
        asked = next((p for n, p in inputs.items() if _stem(n) == _stem(name)), None)
        yield FoundRun(program="pw.x", place=place, main=path, others=tuple(others), asked=asked)


def _is_nobodys(path: str, outputs: dict[str, str]) -> bool:
    return _stem(path.rpartition("/")[2]) not in {_stem(name) for name in outputs}


def _p2y_runs(place: str, names: dict[str, str]) -> Iterator[FoundRun]:
    logs = sorted(name for name in names if _P2Y_LOG.search(name))
    if logs:
        loose = tuple(path for name, path in names.items() if _LOOSE.search(name))
        yield FoundRun(program="p2y", place=place, main=names[logs[-1]], others=loose)


def _yambo_runs(tree: Tree, place: str, names: dict[str, str]) -> Iterator[FoundRun]:
    reports: dict[str, str] = {}
    for name in sorted(names):
        match = _REPORT.match(name)
        if match and "yambo" in tree.texts[names[name]][:_HEAD_CHARACTERS].lower():
            reports[match["job"]] = name
    loose = [path for name, path in names.items() if _LOOSE.search(name)]
    inputs = {n: p for n, p in names.items() if n.endswith(".in") and _YAMBO_INPUT.search(tree.texts[p])}
    for job, name in sorted(reports.items(), key=lambda item: ("setup" not in item[0], _natural(item[0]))):
        report = tree.texts[names[name]]
        named = re.search(r"^\s*Input file\s*:\s*(\S+)", report, re.MULTILINE)
        asked = inputs.get(named[1].rpartition("/")[2]) if named else None
        logs = [p for p in _with_logs(tree, place) if _is_log_of(p, job, name)]
        yield FoundRun(program="yambo", place=place, main=names[name], others=(*logs, *loose), asked=asked)
    if not reports and _is_mute_yambo(tree, place, names):
        asked = next(iter(inputs.values()), None)
        yield FoundRun(
            program="yambo", place=place, main=_join(place, "r_setup"), others=tuple(loose), asked=asked
        )


def _is_mute_yambo(tree: Tree, place: str, names: dict[str, str]) -> bool:
    """A SAVE, or a complaint about its absence, and nothing that yambo wrote."""
    if any(_P2Y_LOG.search(name) for name in names):
        return False
    complaint = any("yambo: cannot access" in tree.texts[p] for n, p in names.items() if _LOOSE.search(n))
    return complaint or any(path.startswith(_join(place, "SAVE/")) for path in tree.sizes)


def _with_logs(tree: Tree, place: str) -> list[str]:
    # Under mpirun the logs of all ranks are in LOG.
    return [path for path in tree.texts if _place(path) in (place, _join(place, "LOG"))]


def _is_log_of(path: str, job: str, report: str) -> bool:
    match = re.fullmatch(r"l[_-](.*?)(_CPU_\d+)?(_\d\d)?", path.rpartition("/")[2])
    repeat = _REPORT.match(report)
    return bool(match and repeat and match[1] == job and (match[3] or None) == repeat["repeat"])


def _last_attempts(outputs: dict[str, str]) -> dict[str, str]:
    last: dict[str, str] = {}
    for name in sorted(outputs, key=_natural):
        last["pw" if _ATTEMPT.match(_stem(name)) else name] = name
    return {name: outputs[name] for name in sorted(last.values(), key=_order)}


def _order(name: str) -> tuple[int, list[object]]:
    # scf before what starts from it.
    return int(not name.startswith(("scf", "pw"))), _natural(name)


def _natural(text: str) -> list[object]:
    return [(1, int(part)) if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _place(path: str) -> str:
    return path.rpartition("/")[0]


def _join(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name
