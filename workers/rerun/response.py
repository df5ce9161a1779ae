"""The files of the steps after the ground state: local potential, our solver, YAMBO; pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from farm.errors import CalculationError
from farm.job import Engine
from farm.kpoints import space_group
from farm.spectrum import DIRECTIONS
from workers.history import PotentialStep, ResponseStep, SpectraStep
from workers.potentials import POTENTIAL_FILE, PP_INPUT, PP_LINK, pp_input
from workers.qe.inputs import OUTDIR, PREFIX
from workers.rerun.past_step import PastStep
from workers.rerun.pw import SAVE
from workers.rerun.step_files import StepFiles, differs
from workers.rerun.subject import Subject
from workers.responses import PROTOCOL_FILE, protocol_text, response_options, spectra_options
from workers.used_inputs import sha256_of, yambo_file, yambo_input_again
from workers.yambo.inputs import YamboInput
from workers.yambo.jobs import INPUT_FILE, JOB, P2Y_ARGV, PW_SAVE, SETUP_ARGV, yambo_argv
from workers.yambo.jobs import SAVE as YAMBO_SAVE
from workers.yambo.response import rung_input, rung_name
from workers.yambo.symmetry import inequivalent_axes

SYMMETRY_SCRIPT = "save_symmetry.py"
_XML = "data-file-schema.xml"


@dataclass(frozen=True, kw_only=True)
class _YamboRun:
    """One attempt at one rung; sha256 "" where it is not recorded."""

    file: str
    asked: YamboInput
    dipoles: str
    sha256: str = ""


def response_step_files(
    past: PastStep,
    subject: Subject,
    directory: str,
    places: Mapping[str, str],
    gmax_mry: Sequence[int],
) -> StepFiles:
    """The files of a step that pw.x does not run.

    places:   name of each step before this one -> its directory, the latest of equal ones
    gmax_mry: along x, y, z where the ladder ended, for YAMBO's runs that are not recorded

    Raises InputError for settings this version does not know.
    """
    step = past.step
    may_fail = " || true" if past.failed else ""
    match step:
        case PotentialStep():
            return _potential(step, directory, places, may_fail)
        case SpectraStep():
            return _spectra(step, subject, directory, places, may_fail)
        case ResponseStep() if subject.engine is Engine.YAMBO:
            return _by_yambo(past, step, subject, directory, places, gmax_mry)
        case ResponseStep():
            save = f"../{places[step.bands.name]}/{SAVE}"
            words = ["farm", "response", save, *response_options(subject.protocol, step.n_bands)]
            return StepFiles(
                directory=directory,
                lines=(f"{shlex.join(words)} > response.out{may_fail}",),
                programs=("farm",),
            )
    raise CalculationError(f"{step.name} is a step of pw.x")


def _potential(step: PotentialStep, directory: str, places: Mapping[str, str], may_fail: str) -> StepFiles:
    source = f"../{places[step.ground_state.name]}/{OUTDIR}"
    return StepFiles(
        directory=directory,
        texts={PP_INPUT: pp_input(PREFIX)},
        lines=(f"ln -sfn {source} {PP_LINK}", f"pp.x -inp {PP_INPUT} > pp.out 2> pp.err{may_fail}"),
        programs=("pp.x",),
    )


def _spectra(
    step: SpectraStep, subject: Subject, directory: str, places: Mapping[str, str], may_fail: str
) -> StepFiles:
    potential = f"../{places[PotentialStep.name]}/{POTENTIAL_FILE}"
    grids = (step.ground_state.kgrid, step.check_kgrid) if step.check_kgrid else None
    save = f"../{places[step.ground_state.name]}/{SAVE}"
    words = ["farm", "spectra", save, *spectra_options(potential, subject.cell.basis, grids)]
    return StepFiles(
        directory=directory,
        texts={PROTOCOL_FILE: protocol_text(subject.protocol)},
        lines=(f"{shlex.join(words)} > spectra.out{may_fail}",),
        programs=("farm",),
    )


def _by_yambo(
    past: PastStep,
    step: ResponseStep,
    subject: Subject,
    directory: str,
    places: Mapping[str, str],
    gmax_mry: Sequence[int],
) -> StepFiles:
    runs = _recorded(past) if past.recorded else _prescribed(step, subject, gmax_mry)
    texts = {run.file: run.asked.text() for run in runs}
    notes = [differs(directory, r.file) for r in runs if r.sha256 and sha256_of(texts[r.file]) != r.sha256]
    # Of all attempts at a rung the last: others leave nothing that it needs.
    last = list({_rung_of(run): run for run in runs}.values())
    if len(last) < len(runs):
        skipped = ", ".join(run.file for run in runs if run not in last)
        notes.append(f"{directory}: {skipped} failed in the farm: run.sh runs what it ran instead.")
    ending = " || true" if past.failed else ""
    return StepFiles(
        directory=directory,
        texts=texts,
        lines=(
            *_save_lines(step, places, ending),
            *(_run_line(run, ending if run is last[-1] else "") for run in last),
        ),
        programs=("yambo", "p2y", "mpirun", "python3"),
        notes=tuple(notes),
        shared={SYMMETRY_SCRIPT: _symmetry_script()},
    )


def _recorded(past: PastStep) -> list[_YamboRun]:
    return [
        _YamboRun(
            file=used.file,
            asked=yambo_input_again(used.values),
            dipoles=used.dipoles,
            sha256=used.sha256,
        )
        for used in past.inputs
    ]


def _prescribed(step: ResponseStep, subject: Subject, gmax_mry: Sequence[int]) -> list[_YamboRun]:
    """A run for each rung of each inequivalent direction; IPA comes with the first of them."""
    protocol, crystal = subject.protocol, subject.cell.crystal
    rungs = protocol.gmax_mry[1:] or protocol.gmax_mry
    nbnd = step.n_bands or step.bands.nbnd
    runs: list[_YamboRun] = []
    for axis in sorted(set(inequivalent_axes(crystal, space_group(crystal)))):
        for i, gmax in enumerate(rungs):
            if i and gmax > gmax_mry[axis]:
                break
            file = yambo_file(rung_name(axis, gmax), 1)
            dipoles = f"../{_directory(runs[0])}/{JOB}" if runs else ""
            runs.append(_YamboRun(file=file, asked=rung_input(protocol, axis, gmax, nbnd), dipoles=dipoles))
    return runs


def _save_lines(step: ResponseStep, places: Mapping[str, str], ending: str) -> list[str]:
    bands, ground_state = (f"../{places[s.name]}/{SAVE}" for s in (step.bands, step.bands.ground_state))
    return [
        f"rm -rf {PW_SAVE} {YAMBO_SAVE} r_setup* l_setup* && mkdir {PW_SAVE}",
        f'ln -s "$PWD"/{bands}/* {PW_SAVE}/ && rm {PW_SAVE}/{_XML}',
        f"python3 ../{SYMMETRY_SCRIPT} {bands}/{_XML} {ground_state}/{_XML} > {PW_SAVE}/{_XML}",
        f"(cd {PW_SAVE} && mpirun -np 1 {shlex.join(P2Y_ARGV)} > ../p2y.out 2> ../p2y.err){ending}",
        f"mpirun -np 1 {shlex.join(SETUP_ARGV)} > setup.out 2> setup.err{ending}",
    ]


def _run_line(run: _YamboRun, ending: str) -> str:
    layout, directory = run.asked.layout, _directory(run)
    threads = f"OMP_NUM_THREADS={layout.threads} " if layout.threads > 1 else ""
    command = f"{threads}mpirun -np {layout.ranks} {shlex.join(yambo_argv(run.dipoles))}"
    # yambo keeps what it finds, and gives its own files other names.
    clean = f"find . -mindepth 1 ! -name {INPUT_FILE} -delete"
    return f"(cd {directory} && {clean} && {command} > ../{directory}.out 2> ../{directory}.err){ending}"


def _directory(run: _YamboRun) -> str:
    return run.file.partition("/")[0]


def _rung_of(run: _YamboRun) -> str:
    return _directory(run).rpartition("-")[0]


def _symmetry_script() -> str:
    return resources.files("workers.yambo").joinpath(SYMMETRY_SCRIPT).read_text(encoding="utf-8")


def ladder_ends(
    converged_gmax_mry: Sequence[int | None], ladder_gmax_mry: Sequence[int], gmax_max_mry: int
) -> tuple[int, ...]:
    """Along x, y, z the last rung: where it converged, else the last one stored, else the protocol's."""
    last = ladder_gmax_mry[-1] if ladder_gmax_mry else gmax_max_mry
    return tuple(last if gmax is None else gmax for gmax in converged_gmax_mry[: len(DIRECTIONS)])
