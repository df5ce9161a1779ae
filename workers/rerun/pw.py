"""The files of the steps that pw.x runs; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from farm.errors import CalculationError
from workers.history import BandsStep, ScfStep
from workers.pw_steps import step_input
from workers.qe.inputs import OUTDIR, PREFIX, PwInput
from workers.qe.remedies import REMEDIES
from workers.rerun.past_step import PastStep
from workers.rerun.step_files import StepFiles, differs
from workers.rerun.subject import Subject
from workers.used_inputs import pw_file, pw_input_again, sha256_of

SAVE = f"{OUTDIR}/{PREFIX}.save"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One attempt; sha256 "" where it is not recorded."""

    file: str
    asked: PwInput
    clean: bool = True
    sha256: str = ""


def pw_step_files(
    past: PastStep, subject: Subject, directory: str, places: Mapping[str, str], ranks: int
) -> StepFiles:
    """The inputs of all attempts, and the lines that run those which the last one builds on.

    places: name of each step before this one -> its directory

    Raises CrystalError where YAMBO would need too many k-points, InputError for settings this version does
    not know.
    """
    step = past.step
    if not isinstance(step, ScfStep | BandsStep):
        raise CalculationError(f"{step.name} is no step of pw.x")
    if past.recorded and not past.inputs:
        return StepFiles(directory=directory, notes=(f"{directory}: the farm did not start pw.x for it.",))
    runs, notes = _runs(past, step, subject, directory)
    texts = {run.file: run.asked.text() for run in runs}
    notes += [differs(directory, r.file) for r in runs if r.sha256 and sha256_of(texts[r.file]) != r.sha256]
    first = max(i for i, run in enumerate(runs) if run.clean)
    if first:
        skipped = ", ".join(run.file for run in runs[:first])
        notes.append(
            f"{directory}: {skipped} failed in the farm, and {runs[first].file} began anew: run.sh begins"
            " there."
        )
    lines = [f"rm -rf {OUTDIR} && mkdir -p {SAVE}", *_density(step, places)]
    command = "pw.x" if ranks == 1 else f"mpirun -np {ranks} pw.x"
    for i, run in enumerate(runs[first:], start=first):
        stem = run.file.removesuffix(".in")
        # What failed in the farm fails again.
        may_fail = " || true" if past.failed or i < len(runs) - 1 else ""
        lines.append(f"{command} -inp {run.file} > {stem}.out 2> {stem}.err{may_fail}")
    return StepFiles(
        directory=directory,
        texts=texts,
        lines=(*lines, *_told(past, runs[-1].file.removesuffix(".in"))),
        programs=("pw.x",) if ranks == 1 else ("pw.x", "mpirun"),
        notes=tuple(notes),
    )


def _runs(
    past: PastStep, step: ScfStep | BandsStep, subject: Subject, directory: str
) -> tuple[list[_Run], list[str]]:
    points = subject.points if isinstance(step, BandsStep) else None
    base = step_input(step, subject.cell.crystal, subject.protocol, subject.pseudo_files, points)
    if past.recorded:
        runs = [
            _Run(
                file=used.file,
                asked=pw_input_again(base, used.values),
                clean=used.clean,
                sha256=used.sha256,
            )
            for used in past.inputs
        ]
        return runs, []
    runs, notes = [_Run(file=pw_file(1), asked=base)], []
    if base.kpoints and subject.n_kpoints not in (None, len(base.kpoints)):
        notes.append(
            f"{directory} had {subject.n_kpoints} k-points in the farm and has {len(base.kpoints)} here."
        )
    for correction in subject.corrections:
        if correction.step != step.name:
            continue
        of_name = (r for r in REMEDIES.get(correction.diagnosis, ()) if r.name == correction.remedy)
        remedy = next(of_name, None)
        changed = remedy.change(runs[-1].asked) if remedy is not None else None
        if remedy is None or changed is None:
            notes.append(
                f"{directory}: the farm tried {correction.remedy!r} against {correction.diagnosis}, which"
                " this version cannot apply: it is left out."
            )
            continue
        runs.append(_Run(file=pw_file(len(runs) + 1), asked=changed, clean=remedy.clean))
    return runs, notes


def _density(step: ScfStep | BandsStep, places: Mapping[str, str]) -> list[str]:
    """What the worker copies into the save directory before a run begins anew."""
    if isinstance(step, BandsStep):
        # The farm has deleted the wavefunctions of the ground state by then.
        source = f"../{places[step.ground_state.name]}/{SAVE}"
        return [f"find {source} -maxdepth 1 -type f ! -name 'wfc*' -exec cp {{}} {SAVE}/ \\;"]
    if not step.start:
        return []
    return [f"cp ../{places[step.start]}/{SAVE}/charge-density.* {SAVE}/"]


def _told(past: PastStep, stem: str) -> list[str]:
    if past.total_energy_ry is None:
        return []
    return [
        f"""echo "   total energy here:     $(awk '/^!/ {{e = $5}} END {{print e}}' {stem}.out) Ry\"""",
        f'echo "   total energy recorded: {past.total_energy_ry:.8f} Ry"',
    ]
