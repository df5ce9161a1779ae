"""The steps of results that do not keep them: put together from their names, or from the protocol; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from farm.errors import InputError
from farm.result import Result
from workers.convergence import Grid, Rung, closest_rung
from workers.history import BandsStep, PotentialStep, ResponseStep, ScfStep, SpectraStep, Step, scf_name
from workers.pipeline import make_plan
from workers.rerun.past_step import PastStep
from workers.rerun.subject import Subject

_SCF = re.compile(r"scf-(\d{1,4})Ry-(\d{1,4})x(\d{1,4})x(\d{1,4})(-loose)?")


def steps_by_name(result: Result, subject: Subject) -> tuple[list[PastStep], list[str]]:
    """Steps of a result that tells their names; and what had to be concluded."""
    steps: list[PastStep] = []
    for i, usage in enumerate(result.steps):
        is_last = not any(_SCF.fullmatch(later.name) for later in result.steps[i + 1 :])
        step = _named(usage.name, steps, result, is_last=is_last)
        steps.append(PastStep(step=step, failed=usage.outcome == "failed", usage=usage))
    notes = [
        "This result was stored by a version that kept the names of the steps, not their inputs: settings"
        " beyond those of the protocol are this version's, and remedies are applied again by their names."
    ]
    if sum(isinstance(past.step, ScfStep) for past in steps) > 1:
        notes.append(
            "Which density each self-consistent run started from is not recorded: here each starts from"
            " the one this version would choose."
        )
    asked = subject.protocol.energy_tolerance_kcal_mol is not None
    spectra = [past.step for past in steps if isinstance(past.step, SpectraStep)]
    if asked and any(step.check_kgrid is None for step in spectra):
        notes.append(
            "Whether `farm spectra` was also asked for the energy on a denser grid (--energy-grids) is not"
            " recorded: it is left out, which changes no spectrum."
        )
    return steps, notes


def _named(name: str, before: Sequence[PastStep], result: Result, *, is_last: bool) -> Step:
    good = [past.step for past in before if not past.failed]
    scf = [step for step in good if isinstance(step, ScfStep)]
    if match := _SCF.fullmatch(name):
        a, b, c = (int(n) for n in match.groups()[1:4])
        rung = Rung(ecutwfc_ry=int(match[1]), kgrid=(a, b, c), is_loose=bool(match[5]))
        start = closest_rung(rung, [_rung(step) for step in scf])
        return _scf_step(rung, scf_name(start) if start else "")
    ground_state = _last_settled(scf, result, is_last=is_last)
    if ground_state is not None and name == "potential":
        return PotentialStep(ground_state=ground_state)
    if ground_state is not None and name == "spectra":
        return SpectraStep(ground_state=ground_state, check_kgrid=_check_kgrid(result) if is_last else None)
    if ground_state is not None and re.fullmatch(r"bands-\d{1,6}", name):
        return BandsStep(ground_state=ground_state, nbnd=int(name.removeprefix("bands-")))
    bands = [step for step in good if isinstance(step, BandsStep)]
    if bands and name == "response":
        return ResponseStep(bands=bands[-1], n_bands=result.parameters.get("nbnd"))
    raise InputError(f"{result.crystal.material_id}: field steps: {name!r:.60} is no step of a job")


def _last_settled(scf: Sequence[ScfStep], result: Result, *, is_last: bool) -> ScfStep | None:
    """The ground state that what follows rests on: the recorded one, else the last that ran to its end."""
    settled = [step for step in scf if not step.is_loose]
    wanted = result.parameters.get("ecutwfc_ry"), result.parameters.get("ground_state_kgrid")
    if is_last and None not in wanted:
        settled = [s for s in settled if (s.ecutwfc_ry, list(s.kgrid)) == wanted] or settled
    return settled[-1] if settled else None


def only_rung(result: Result, subject: Subject, *, recorded: bool) -> tuple[Rung, str]:
    """The one ground state there is to write, and where it comes from."""
    if recorded:
        a, b, c = (int(n) for n in result.parameters["ground_state_kgrid"])
        rung = Rung(ecutwfc_ry=round(result.parameters["ecutwfc_ry"]), kgrid=(a, b, c))
        return rung, (
            "Only the ground state that the result rests on is recorded, not the runs before it nor what it"
            " started from: here it starts from atoms. All other settings are those of the protocol."
        )
    protocol = subject.protocol
    ladder = make_plan(subject.cell.crystal, protocol, subject.n_electrons).ladder
    rung = Rung(ecutwfc_ry=ladder.cutoffs_ry[0], kgrid=ladder.kgrids[0])
    if protocol.energy_tolerance_kcal_mol is None:
        return rung, "Cutoff and k-grid of the ground state are those of the protocol."
    return rung, (
        "The protocol raises the cutoff, then the k-grid of the ground state until the total energy changes"
        f" by less than {protocol.energy_tolerance_kcal_mol:g} kcal/mol per atom. Where that ended is not"
        f" recorded: here is the first rung, {rung.ecutwfc_ry} Ry and {_grid(rung.kgrid)}."
    )


def steps_of_rung(result: Result, subject: Subject, rung: Rung) -> list[Step]:
    """Ground state, bands and response of one rung."""
    scf = _scf_step(rung, "")
    parameters = result.parameters
    if parameters.get("bands", subject.protocol.bands) == "reduced-basis":
        potential = PotentialStep(ground_state=scf)
        return [scf, potential, SpectraStep(ground_state=scf, check_kgrid=_check_kgrid(result))]
    plan = make_plan(subject.cell.crystal, subject.protocol, subject.n_electrons)
    nbnd = parameters.get("nbnd_computed", parameters.get("nbnd", plan.first_nbnd))
    bands = BandsStep(ground_state=scf, nbnd=int(nbnd))
    return [scf, bands, ResponseStep(bands=bands, n_bands=parameters.get("nbnd"))]


def _scf_step(rung: Rung, start: str) -> ScfStep:
    return ScfStep(ecutwfc_ry=rung.ecutwfc_ry, kgrid=rung.kgrid, is_loose=rung.is_loose, start=start)


def _rung(step: ScfStep) -> Rung:
    return Rung(ecutwfc_ry=step.ecutwfc_ry, kgrid=step.kgrid, is_loose=step.is_loose)


def _check_kgrid(result: Result) -> Grid | None:
    grid = result.parameters.get("ground_state_check_kgrid")
    if not grid:
        return None
    a, b, c = (int(n) for n in grid)
    return a, b, c


def _grid(grid: Grid) -> str:
    return "x".join(map(str, grid))
