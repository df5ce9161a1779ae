"""README.txt of a rerun, in plain words; pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from farm.pseudopotentials import SET_NAME, count_electrons
from farm.result import Result
from workers.rerun.differences import differences
from workers.rerun.past import Past
from workers.rerun.past_step import PastStep
from workers.rerun.response import SYMMETRY_SCRIPT
from workers.rerun.script import PSEUDO_DIRECTORY, RUN_SCRIPT
from workers.rerun.step_files import StepFiles
from workers.rerun.subject import Subject

README = "README.txt"
_WIDTH = 100


def readme(
    result: Result, subject: Subject, past: Past, steps: Sequence[StepFiles], missing: Sequence[str]
) -> str:
    """What is in the directory, in plain words.

    missing: pseudopotential files that could not be copied
    """
    notes = [*past.notes, *(note for step in steps for note in step.notes)]
    sections = [
        _head(result, past),
        _facts(result, subject),
        _how_to_run(past, steps),
        _steps(past, steps),
        _pseudopotentials(subject, missing),
        _corrections(result),
        _list(
            "What differs from the farm's own run" if past.by_farm else "What is not known",
            differences(result, subject, past, notes),
        ),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(result: Result, past: Past) -> str:
    crystal = result.crystal
    formula = "" if crystal.material_id == crystal.formula else f" ({crystal.formula})"
    title = f"The inputs of {crystal.material_id}{formula}"
    if past.steps and past.by_farm:
        what = "The inputs of the programs that made a stored result, written again from its record."
    elif past.steps:
        what = (
            "This result was imported, not computed by a farm. These are the inputs that its protocol"
            " prescribes. They were not run by this farm, and nothing says that the imported spectra were"
            " made with exactly these."
        )
    elif count_electrons(crystal) % 2:
        what = (
            "No program was run, and there are no inputs: with an odd number of electrons in its cell the"
            " material is no insulator, and the protocol treats nothing else."
        )
    else:
        what = "The farm ran no program for this material, or a version that kept nothing of it did."
    return f"{title}\n{'=' * len(title)}\n{_wrapped(what)}"


def _facts(result: Result, subject: Subject) -> str:
    crystal = result.crystal
    outcome = result.outcome.value + (f": {result.reason}" if result.reason else "")
    facts = {
        "Material": f"{crystal.formula}, in the cell {crystal.n_atoms} atoms and {subject.n_electrons}"
        " valence electrons",
        "Source": crystal.source,
        "Space group": result.space_group,
        "Outcome": outcome,
        "Advice": result.advice,
        "Engine": result.engine.value,
        "Protocol": f"{result.protocol_hash[:12]}, {subject.protocol.functional}, {SET_NAME}",
        "Programs": ", ".join(f"{name} {version}" for name, version in result.programs.items())
        or "not recorded",
        "Cell": _cell(subject),
    }
    return "\n".join(_fact(name, text) for name, text in facts.items() if text)


def _cell(subject: Subject) -> str:
    if subject.cell.crystal is subject.crystal:
        return "that of the structure"
    rows = " / ".join(" ".join(str(int(n)) for n in row) for row in subject.cell.basis)
    return f"the most compact of the lattice, its vectors in those of the structure: {rows}"


def _how_to_run(past: Past, steps: Sequence[StepFiles]) -> str:
    if not any(step.lines for step in steps):
        return ""
    programs = list(dict.fromkeys(program for step in steps for program in step.programs))
    ranks = "one MPI rank" if past.ranks == 1 else f"{past.ranks} MPI ranks"
    said = (
        f"It needs {', '.join(programs)} on PATH, runs them one after the other in the order of the"
        f" directories, with one thread each, pw.x on {ranks}, and begins anew each time."
    )
    paragraphs = [f"    bash {RUN_SCRIPT}", _wrapped(said)]
    if "farm" in programs:
        paragraphs.append(
            _wrapped(
                "The response is made by the farm's own solver. `farm` is the command of its Python package"
                " (`pip install .` where its source is) and needs nothing around it. Without it run.sh"
                " passes over that step; all others need nothing of the farm."
            )
        )
    if "yambo" in programs:
        paragraphs.append(
            _wrapped(
                "The set-up of yambo has no input file, and each response holds IPA beside RPA. pw.x made"
                f" the bands without symmetry; {SYMMETRY_SCRIPT} writes that of the ground state into what"
                " p2y reads."
            )
        )
    return _section("To run them", "\n\n".join(paragraphs))


def _steps(past: Past, steps: Sequence[StepFiles]) -> str:
    if not steps:
        return ""
    lines = [_step(one, files) for one, files in zip(past.steps, steps, strict=True)]
    return _section("Steps", "\n".join(lines))


def _step(past: PastStep, files: StepFiles) -> str:
    told = []
    if past.usage is not None:
        told.append(f"{past.usage.outcome} in the farm after {past.usage.cpu_s:.1f} CPU s")
    if past.total_energy_ry is not None:
        told.append(f"total energy {past.total_energy_ry:.8f} Ry")
    names = ", ".join(files.texts) or "no input file"
    return "\n".join([files.directory, *(f"    {text}" for text in (names, *told))])


def _pseudopotentials(subject: Subject, missing: Sequence[str]) -> str:
    lines = [
        f"{element:<3} {pseudo.file}  SHA-256 {pseudo.sha256}"
        for element, pseudo in subject.pseudos.items()
    ]
    if missing:
        lines.append(
            _wrapped(
                f"Not on the machine that wrote this: {', '.join(missing)}. Put them into"
                f" {PSEUDO_DIRECTORY}/; run.sh checks them before it runs anything."
            )
        )
    return _section(f"Pseudopotentials, in {PSEUDO_DIRECTORY}/", "\n".join(lines))


def _corrections(result: Result) -> str:
    worked = {True: "worked", False: "did not help", None: "not known whether it worked"}
    return _list(
        "Corrections the farm made, which are in the inputs",
        [
            f"{c.step}, {c.diagnosis}: {c.remedy} ({worked[c.worked]}"
            f"{', changes the physics' if c.changes_physics else ''})"
            for c in result.corrections
        ],
    )


def _fact(name: str, text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=f"{name:<13}", subsequent_indent=" " * 13, break_long_words=False
    )


def _section(title: str, body: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{body}"


def _list(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    filled = (
        textwrap.fill(item, _WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False)
        for item in items
    )
    return _section(title, "\n".join(filled))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False)
