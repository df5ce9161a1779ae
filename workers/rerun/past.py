"""The steps that a stored result is made of: recorded, or put together from what older ones say; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from farm.errors import InputError
from farm.job import Engine
from farm.pseudopotentials import count_electrons
from farm.result import Result, StepUsage
from workers.history import BandsStep, ResponseStep, ScfStep, Step
from workers.manifest import decode_step
from workers.rerun.older import only_rung, steps_by_name, steps_of_rung
from workers.rerun.past_step import PastStep
from workers.rerun.subject import Subject
from workers.used_inputs import UsedInput

# Results travel: names that they bring become paths and words of a shell script.
_NAME = re.compile(
    r"scf-\d{1,4}Ry-\d{1,4}x\d{1,4}x\d{1,4}(-loose)?|bands-\d{1,6}|potential|spectra|response"
)


@dataclass(frozen=True, kw_only=True)
class Past:
    """What was run.

    steps:   in order
    ranks:   MPI ranks of the programs
    by_farm: a farm has run them; else they are what the protocol prescribes
    notes:   what is not recorded, in words
    """

    steps: tuple[PastStep, ...]
    ranks: int = 1
    by_farm: bool = True
    notes: tuple[str, ...] = ()


def past_of(result: Result, subject: Subject) -> Past:
    """The past of a result. Raises InputError for a record that cannot be read."""
    past = _past(result, subject)
    if subject.protocol.hash == result.protocol_hash:
        return past
    other = (
        "The protocol of the result has not all the fields that this version knows, or other ones: what it"
        " lacks is at its default here."
    )
    return replace(past, notes=(other, *past.notes))


def _past(result: Result, subject: Subject) -> Past:
    by_farm = bool(result.steps) or "farm" in result.programs or "runs" in result.parameters
    if not by_farm and count_electrons(result.crystal) % 2:
        return Past(steps=(), by_farm=False)
    if "runs" in result.parameters:
        return _recorded(result)
    if result.steps:
        steps, notes = steps_by_name(result, subject)
        return Past(steps=tuple(steps), notes=(*notes, *_unknown(result, subject)))
    recorded = {"ecutwfc_ry", "ground_state_kgrid"} <= result.parameters.keys()
    if by_farm and not recorded:
        # It was decided before anything ran, or the result is of a version that kept nothing.
        return Past(steps=())
    rung, note = only_rung(result, subject, recorded=recorded)
    steps = [PastStep(step=step) for step in steps_of_rung(result, subject, rung)]
    unknown = _unknown(result, subject) if by_farm else _of_yambo(subject)
    return Past(steps=tuple(steps), by_farm=by_farm, notes=(note, *unknown))


def _unknown(result: Result, subject: Subject) -> tuple[str, ...]:
    """What is not known of a farm's runs where their inputs are not recorded."""
    ranks = "How many MPI ranks the programs had is not recorded: run.sh uses one."
    if "computed_cell" in result.parameters:
        return (ranks, *_of_yambo(subject))
    cell = "Which cell of the lattice was computed is not recorded: here it is the most compact one."
    return (ranks, cell, *_of_yambo(subject))


def _of_yambo(subject: Subject) -> tuple[str, ...]:
    if subject.engine is not Engine.YAMBO:
        return ()
    symmetry = (
        "Which symmetry operations pw.x found is not recorded, and the k-points of the band calculation"
        " depend on them: here they are those that spglib finds."
    )
    shared = (
        "How the work of yambo was shared by ranks, and which rungs of its ladder were held by the block of"
        " the one before, is not recorded: here one rank runs every rung up to the last."
    )
    return (shared,) if subject.rotations is not None else (symmetry, shared)


def _recorded(result: Result) -> Past:
    runs = result.parameters["runs"]
    usages: Sequence[StepUsage | None] = result.steps
    try:
        if len(usages) != len(runs):
            usages = [None] * len(runs)
        steps = [_decoded(run, usage) for run, usage in zip(runs, usages, strict=True)]
        return Past(steps=tuple(steps), ranks=int(result.parameters.get("ranks", 1)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{result.crystal.material_id}: field parameters.runs cannot be read: {error!r}",
            fix="It may be of another version of the farm: update this one, or compute the material again",
        ) from error


def _decoded(run: Mapping[str, Any], usage: StepUsage | None) -> PastStep:
    step = decode_step(run["step"])
    names = [step.name]
    ground_state = _ground_state(step)
    names += [ground_state.name, *([ground_state.start] if ground_state.start else [])]
    if isinstance(step, ResponseStep):
        names.append(step.bands.name)
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f"no step of a job: {names}")
    inputs = tuple(UsedInput.from_dict(item) for item in run["inputs"])
    energy_ry = run.get("total_energy_ry")
    # A step that an earlier version had done before this one went on with the job left no inputs.
    by_pw = isinstance(step, ScfStep | BandsStep)
    lost = by_pw and not inputs and usage is not None and usage.attempts > 0
    return PastStep(
        step=step,
        inputs=inputs,
        recorded=not lost,
        failed=bool(run.get("failed", False)),
        usage=usage,
        total_energy_ry=None if energy_ry is None else float(energy_ry),
    )


def _ground_state(step: Step) -> ScfStep:
    if isinstance(step, ScfStep):
        return step
    return step.bands.ground_state if isinstance(step, ResponseStep) else step.ground_state
