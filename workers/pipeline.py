"""What a job does next, given what it has done; pure, so a killed job resumes by replay.

::

    ground state (ladder of scf runs) -> local potential -> bands in a reduced basis and response
                                      -> bands (nscf, more bands until the window) -> response

The second way is for ``bands = "nscf"``, and for a crystal on which the first has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from farm.basis import estimate_nbnd
from farm.crystal import Crystal
from farm.job import Outcome
from farm.protocol import Protocol
from farm.spectrum import DIRECTIONS
from workers.bands import enlarge_nbnd
from workers.convergence import GaveUp, Grid, Ladder, Next, Rung, make_ladder, next_rung
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
# Larger changes of the energy, in tolerances, move the density: the sum of the bands is not all of them.
_BELIEVED_CHANGE = 2.0


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
    local_fields:  there is a ladder to converge; without, IPA is all that is wanted
    first_nbnd:    bands of the first band calculation
    """

    n_atoms: int
    reduced_basis: bool
    local_fields: bool
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
        local_fields=not protocol.is_ipa_only,
        ladder=make_ladder(crystal, protocol),
        first_nbnd=estimate_nbnd(n_electrons, crystal.volume_angstrom3, protocol.energy_window_ev),
        energy_window_ev=protocol.energy_window_ev,
        energy_max_ev=protocol.energy_max_ev,
        metal_gap_ev=protocol.metal_gap_ev,
        similarity_threshold=protocol.similarity_threshold,
    )


def next_step(history: History, plan: Plan) -> Step | Finished:
    """The step after ``history``, or how the job ended."""
    if (end := _given_up(history)) is not None:
        return end
    spectra = [done for _, done in history if isinstance(done, SpectraDone)]
    if spectra and spectra[-1].response is None:
        return _metal(spectra[-1].bands, plan)
    run_ev = _run_energies_ev(history, plan)
    energies_ev = {**_energies_by_bands_ev(history, plan, run_ev), **run_ev}
    rung = next_rung(
        energies_ev,
        plan.ladder,
        without_density=energies_ev.keys() - run_ev.keys(),
        failed=[_rung(s) for s, done in history if isinstance(s, ScfStep) and isinstance(done, StepFailed)],
    )
    if isinstance(rung, GaveUp):
        return Finished(
            outcome=Outcome.UNCONVERGED,
            reason=f"ground state: {rung.reason}",
            diagnosis="ground_state_unconverged",
        )
    failed = any(isinstance(d, StepFailed) and not isinstance(s, ScfStep) for s, d in history)
    by_reduced_basis = plan.reduced_basis and not failed
    if isinstance(rung, Next):
        ground_state = _only_next_grid(rung, history)
        if by_reduced_basis and ground_state is not None:
            # The bands, which are wanted anyway, tell what the energy on the next grid would be.
            return _in_reduced_basis(history, plan, ground_state, rung.rung.kgrid)
        return ScfStep(
            ecutwfc_ry=rung.rung.ecutwfc_ry,
            kgrid=rung.rung.kgrid,
            is_loose=rung.rung.is_loose,
            start=scf_name(rung.start) if rung.start else "",
        )
    scf = _scf_of(rung.rung, history)
    return _in_reduced_basis(history, plan, scf) if by_reduced_basis else _by_nscf(history, plan, scf)


def _given_up(history: History) -> Finished | None:
    """The end of a job whose last step has failed, where there is no other way."""
    if not history:
        return None
    step, done = history[-1]
    if not isinstance(done, StepFailed) or _has_other_way(step, done):
        return None
    return Finished(
        outcome=Outcome.METAL if done.is_metal else Outcome.FAILED,
        reason=done.reason,
        diagnosis=done.diagnosis,
        advice=done.advice,
    )


def _run_energies_ev(history: History, plan: Plan) -> dict[Rung, float]:
    """Total energy per atom of every rung that was run, eV."""
    return {
        _rung(step): done.energy_ev / plan.n_atoms
        for step, done in history
        if isinstance(step, ScfStep) and isinstance(done, ScfDone)
    }


def _energies_by_bands_ev(history: History, plan: Plan, run_ev: Mapping[Rung, float]) -> dict[Rung, float]:
    """The same of grids that only bands were made for, where the change is small enough for that."""
    found = {}
    for step, done in history:
        if not isinstance(step, SpectraStep) or not isinstance(done, SpectraDone):
            continue
        if step.check_kgrid is None or done.energy_change_ev is None:
            continue
        change_ev = done.energy_change_ev / plan.n_atoms
        if abs(change_ev) < _BELIEVED_CHANGE * (plan.ladder.tolerance_ev or 0.0):
            ground_state = _rung(step.ground_state)
            found[replace(ground_state, kgrid=step.check_kgrid, is_loose=True)] = (
                run_ev[ground_state] + change_ev
            )
    return found


def _only_next_grid(wanted: Next, history: History) -> ScfStep | None:
    """The ground state whose next denser grid is all that a ladder wants; None: it wants something else."""
    start, rung = wanted.start, wanted.rung
    if start is None or start.is_loose or not rung.is_loose or start.ecutwfc_ry != rung.ecutwfc_ry:
        return None
    ground_state = _scf_of(start, history)
    tried = any(isinstance(s, SpectraStep) and s.ground_state == ground_state for s, _ in history)
    return None if tried else ground_state


def _scf_of(rung: Rung, history: History) -> ScfStep:
    return next(step for step, _ in history if isinstance(step, ScfStep) and _rung(step) == rung)


def _rung(step: ScfStep) -> Rung:
    return Rung(ecutwfc_ry=step.ecutwfc_ry, kgrid=step.kgrid, is_loose=step.is_loose)


def _has_other_way(step: Step, failed: StepFailed) -> bool:
    if isinstance(step, ScfStep):
        # What only decides about the ladder can be decided without.
        return step.is_loose and not failed.is_metal
    return isinstance(step, PotentialStep | SpectraStep)


def _in_reduced_basis(
    history: History, plan: Plan, scf: ScfStep, check_kgrid: Grid | None = None
) -> Step | Finished:
    """Potential, then spectra, of a ground state; and what they say in the end."""
    made: set[type] = set()
    for step, done in history:
        if not isinstance(step, PotentialStep | SpectraStep) or step.ground_state != scf:
            continue
        made.add(type(step))
        if isinstance(done, SpectraDone):
            return _judge_spectra(done, plan)
    if PotentialStep not in made:
        return PotentialStep(ground_state=scf)
    return SpectraStep(ground_state=scf, check_kgrid=check_kgrid)


def _judge_spectra(done: SpectraDone, plan: Plan) -> Finished:
    if done.kgrid_converged is False:
        similarity = min(done.kgrid_similarity or (0.0,))
        grid = "x".join(map(str, done.kgrids[-1]))
        return Finished(
            outcome=Outcome.UNCONVERGED,
            reason=f"k-grid: spectra on {grid} agree with those before to SC {similarity:.3f} only",
            diagnosis="kgrid_unconverged",
        )
    assert done.response is not None  # noqa: S101  # metals have ended before, for the type checker
    return _judge(done.response, plan)


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
    return _judge(response[-1], plan) if response else ResponseStep(bands=step, n_bands=done.n_bands)


def _judge(done: ResponseDone, plan: Plan) -> Finished:
    if not plan.local_fields or None not in done.converged_gmax_mry:
        return Finished(outcome=Outcome.DONE)
    assert done.last_similarity is not None  # noqa: S101  # a ladder has steps, for the type checker
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
