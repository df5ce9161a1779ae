"""What a job does next, given what it has done; pure, so a killed job resumes by replay.

::

    ground state (ladder of scf runs) -> local potential -> bands in a reduced basis and response
                                      -> bands (nscf, more bands until the window) -> response

The second way is for ``bands = "nscf"``, and for a crystal on which the first has failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.basis import estimate_nbnd
from farm.crystal import Crystal
from farm.job import Outcome
from farm.protocol import Protocol
from farm.spectrum import DIRECTIONS
from workers.bands import enlarge_nbnd
from workers.convergence import GaveUp, Ladder, Next, Rung, make_ladder, next_rung
from workers.history import (
    BandsDone,
    BandsStep,
    History,
    PotentialStep,
    ResponseDone,
    ResponseStep,
    ScfDone,
    ScfStep,
    SpectraDone,
    SpectraStep,
    Step,
    StepFailed,
    scf_name,
)

MAX_BAND_RETRIES = 3
# Bands that end this far above the spectrum are still accepted after the last retry.
_LEAST_MARGIN_EV = 2.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of the job; diagnosis and advice: as in a Result."""

    outcome: Outcome
    reason: str = ""
    diagnosis: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that the decisions depend on.

    reduced_basis: the bands are made in a reduced basis, as long as that does not fail
    first_nbnd:    bands of the first band calculation
    """

    n_atoms: int
    reduced_basis: bool
    ladder: Ladder
    first_nbnd: int
    energy_window_ev: float
    energy_max_ev: float
    metal_gap_ev: float
    similarity_threshold: float


def make_plan(crystal: Crystal, protocol: Protocol, n_electrons: int) -> Plan:
    """The plan of a crystal with ``n_electrons`` valence electrons under a protocol."""
    return Plan(
        n_atoms=crystal.n_atoms,
        reduced_basis=protocol.bands == "reduced-basis",
        ladder=make_ladder(crystal, protocol),
        first_nbnd=estimate_nbnd(n_electrons, crystal.volume_angstrom3, protocol.energy_window_ev),
        energy_window_ev=protocol.energy_window_ev,
        energy_max_ev=protocol.energy_max_ev,
        metal_gap_ev=protocol.metal_gap_ev,
        similarity_threshold=protocol.similarity_threshold,
    )


def next_step(history: History, plan: Plan) -> Step | Finished:
    """The step after ``history``, or how the job ended."""
    if history and isinstance(last := history[-1][1], StepFailed) and not _has_other_way(history[-1][0]):
        return Finished(
            outcome=Outcome.METAL if last.is_metal else Outcome.FAILED,
            reason=last.reason,
            diagnosis=last.diagnosis,
            advice=last.advice,
        )
    energies_ev = {
        _rung(step): done.energy_ev / plan.n_atoms
        for step, done in history
        if isinstance(step, ScfStep) and isinstance(done, ScfDone)
    }
    rung = next_rung(energies_ev, plan.ladder)
    if isinstance(rung, GaveUp):
        return Finished(
            outcome=Outcome.UNCONVERGED,
            reason=f"ground state: {rung.reason}",
            diagnosis="ground_state_unconverged",
        )
    if isinstance(rung, Next):
        return ScfStep(
            ecutwfc_ry=rung.rung.ecutwfc_ry,
            kgrid=rung.rung.kgrid,
            is_loose=rung.rung.is_loose,
            start=scf_name(rung.start) if rung.start else "",
        )
    scf = next(s for s, _ in history if isinstance(s, ScfStep) and _rung(s) == rung.rung)
    failed = any(isinstance(done, StepFailed) for _, done in history)
    if plan.reduced_basis and not failed:
        return _in_reduced_basis(history, plan, scf)
    return _by_nscf(history, plan, scf)


def _rung(step: ScfStep) -> Rung:
    return Rung(ecutwfc_ry=step.ecutwfc_ry, kgrid=step.kgrid, is_loose=step.is_loose)


def _has_other_way(step: Step) -> bool:
    return isinstance(step, PotentialStep | SpectraStep)


def _in_reduced_basis(history: History, plan: Plan, scf: ScfStep) -> Step | Finished:
    step, done = history[-1]
    if isinstance(done, SpectraDone):
        if done.response is None:
            return _metal(done.bands, plan)
        if done.kgrid_converged is False:
            similarity = min(done.kgrid_similarity or (0.0,))
            grid = "x".join(map(str, done.kgrids[-1]))
            return Finished(
                outcome=Outcome.UNCONVERGED,
                reason=f"k-grid: spectra on {grid} agree with those before to SC {similarity:.3f} only",
                diagnosis="kgrid_unconverged",
            )
        return _judge(done.response, plan)
    return (
        SpectraStep(ground_state=scf)
        if isinstance(step, PotentialStep)
        else PotentialStep(ground_state=scf)
    )


def _metal(bands: BandsDone, plan: Plan) -> Finished:
    return Finished(
        outcome=Outcome.METAL,
        reason=f"indirect gap {bands.gap_indirect_ev:.3f} eV is below {plan.metal_gap_ev:g} eV",
        diagnosis="small_gap",
    )


def _by_nscf(history: History, plan: Plan, scf: ScfStep) -> Step | Finished:
    bands = [(s, d) for s, d in history if isinstance(s, BandsStep) and isinstance(d, BandsDone)]
    if not bands:
        return BandsStep(ground_state=scf, nbnd=plan.first_nbnd)
    step, done = bands[-1]
    if done.gap_indirect_ev < plan.metal_gap_ev:
        return _metal(done, plan)
    if done.top_ev < plan.energy_window_ev:
        if len(bands) <= MAX_BAND_RETRIES:
            nbnd = enlarge_nbnd(step.nbnd, done.top_ev, plan.energy_window_ev)
            return BandsStep(ground_state=scf, nbnd=nbnd)
        if done.top_ev < plan.energy_max_ev + _LEAST_MARGIN_EV:
            return Finished(
                outcome=Outcome.FAILED,
                reason=f"bands: {step.nbnd} bands reach only {done.top_ev:.1f} eV above the valence band",
                diagnosis="bands_short",
            )
    response = [d for _, d in history if isinstance(d, ResponseDone)]
    return _judge(response[-1], plan) if response else ResponseStep(bands=step)


def _judge(done: ResponseDone, plan: Plan) -> Finished:
    if None not in done.converged_gmax_mry:
        return Finished(outcome=Outcome.DONE)
    missing = [
        f"{name} (SC {similarity:.3f})"
        for name, gmax, similarity in zip(
            DIRECTIONS, done.converged_gmax_mry, done.last_similarity, strict=True
        )
        if gmax is None
    ]
    return Finished(
        outcome=Outcome.UNCONVERGED,
        reason=(
            f"local fields along {', '.join(missing)} are not converged at {done.last_gmax_mry} mRy"
            f" (threshold {plan.similarity_threshold:g})"
        ),
        diagnosis="local_fields_unconverged",
    )
