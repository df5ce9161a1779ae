"""Writing the inputs of a stored result into a directory, for `farm show --inputs`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farm.errors import InputError, MissingProgramError
from farm.pseudopotentials import pseudopotential_directory
from farm.result import Result
from workers.history import BandsStep, PotentialStep, ResponseStep, ScfStep, SpectraStep, Step
from workers.pseudos import checked_pseudopotential
from workers.rerun.past import Past, past_of
from workers.rerun.pw import pw_step_files
from workers.rerun.readme import README, readme
from workers.rerun.response import ladder_ends, response_step_files
from workers.rerun.script import PSEUDO_DIRECTORY, RUN_SCRIPT, SUMS_FILE, checksums, run_script
from workers.rerun.step_files import StepFiles
from workers.rerun.subject import Subject, subject_of


def write_inputs(stored: Result, directory: Path) -> dict[str, Any]:
    """Write all inputs of a result, its pseudopotentials, run.sh and README.txt; what was written, as JSON.

    directory: new, or empty

    Raises InputError for a directory that is neither, and for a record that cannot be read; nothing is
    written then.
    """
    _require_empty(directory)
    subject = subject_of(stored)
    past = past_of(stored, subject)
    steps = plan_files(stored, subject, past)
    found, missing = _pseudopotentials(subject)
    texts = {f"{step.directory}/{name}": text for step in steps for name, text in step.texts.items()}
    for step in steps:
        texts |= step.shared
    texts[f"{PSEUDO_DIRECTORY}/{SUMS_FILE}"] = checksums(subject)
    texts[README] = readme(stored, subject, past, steps, missing)
    if any(step.lines for step in steps):
        texts[RUN_SCRIPT] = run_script(stored.crystal.material_id, steps)
    _write(directory, texts, [step.directory for step in steps], found)
    return {
        "material": stored.crystal.material_id,
        "directory": str(directory),
        "by_farm": past.by_farm,
        "steps": [step.directory for step in steps],
        "files": sorted([*texts, *(f"{PSEUDO_DIRECTORY}/{path.name}" for path in found)]),
        "missing_pseudopotentials": missing,
        "notes": [*past.notes, *(note for step in steps for note in step.notes)],
    }


def plan_files(stored: Result, subject: Subject, past: Past) -> list[StepFiles]:
    """The files of every step. Raises InputError for steps that do not go together."""
    places: dict[str, str] = {}
    steps: list[StepFiles] = []
    ends = ladder_ends(
        stored.gmax_converged_mry,
        [rung.gmax_mry for rung in stored.ladder],
        subject.protocol.gmax_max_mry,
    )
    for number, one in enumerate(past.steps, start=1):
        place = f"{number:02d}-{one.step.name}"
        for needed in _builds_on(one.step):
            if needed not in places:
                raise InputError(
                    f"{stored.crystal.material_id}: field parameters.runs: {one.step.name} builds on"
                    f" {needed}, which is not there"
                )
        if isinstance(one.step, ScfStep | BandsStep):
            steps.append(pw_step_files(one, subject, place, places, past.ranks))
        else:
            steps.append(response_step_files(one, subject, place, places, ends))
        places[one.step.name] = place
    return steps


def _builds_on(step: Step) -> list[str]:
    """Names of the steps whose files a step reads."""
    match step:
        case ScfStep():
            return [step.start] if step.start else []
        case SpectraStep():
            return [step.ground_state.name, PotentialStep.name]
        case ResponseStep():
            return [step.bands.ground_state.name, step.bands.name]
        case _:
            return [step.ground_state.name]


def _pseudopotentials(subject: Subject) -> tuple[list[Path], list[str]]:
    """The files of all elements that are here and are the published ones, and names of the others."""
    found, missing = [], []
    for element, pseudo in subject.pseudos.items():
        try:
            found.append(checked_pseudopotential(element, pseudopotential_directory()))
        except MissingProgramError:
            missing.append(pseudo.file)
    return found, missing


def _require_empty(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory} is a file", fix="Name a directory that is new or empty")
    if any(directory.iterdir()):
        raise InputError(
            f"{directory} is not empty: nothing was written", fix="Name a directory that is new or empty"
        )


def _write(
    directory: Path, texts: Mapping[str, str], places: list[str], pseudopotentials: list[Path]
) -> None:
    for place in (PSEUDO_DIRECTORY, *places):
        (directory / place).mkdir(parents=True)
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    for source in pseudopotentials:
        shutil.copyfile(source, directory / PSEUDO_DIRECTORY / source.name)
    if RUN_SCRIPT in texts:
        (directory / RUN_SCRIPT).chmod(0o755)
