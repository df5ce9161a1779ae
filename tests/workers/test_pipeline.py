"""What a job does next, for every history it can have; and its band counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.basis import estimate_nbnd
from farm.job import Outcome
from workers.bands import enlarge_nbnd
from workers.convergence import Ladder
from workers.history import (
    BandAccuracy,
    BandsDone,
    BandsStep,
    Done,
    PotentialDone,
    PotentialStep,
    ResponseDone,
    ResponseStep,
    ScfDone,
    ScfStep,
    SpectraDone,
    SpectraStep,
    Step,
    StepFailed,
)
from workers.pipeline import Finished, Plan, next_step

PLAN = Plan(
    n_atoms=2,
    reduced_basis=False,
    local_fields=True,
    ladder=Ladder(cutoffs_ry=(40,), kgrids=((4, 4, 4),), tolerance_ev=None),
    first_nbnd=20,
    energy_window_ev=25.0,
    energy_max_ev=20.0,
    metal_gap_ev=0.05,
    similarity_threshold=0.9,
)
SCF = ScfStep(ecutwfc_ry=40, kgrid=(4, 4, 4))
GOOD_SCF: tuple[Step, Done] = (SCF, ScfDone(energy_ev=-200.0))


def bands(nbnd: int, top: float, gap: float = 2.0) -> tuple[Step, Done]:
    done = BandsDone(gap_indirect_ev=gap, gap_direct_ev=gap + 1, top_ev=top)
    return BandsStep(ground_state=SCF, nbnd=nbnd), done


def response(*converged: int | None) -> tuple[Step, Done]:
    x, y, z = converged
    done = ResponseDone(
        converged_gmax_mry=(x, y, z), last_gmax_mry=10000, last_similarity=(0.95, 0.8123, 0.97)
    )
    return ResponseStep(bands=BandsStep(ground_state=SCF, nbnd=20)), done


def test_stages_follow_each_other() -> None:
    first = next_step([], PLAN)
    assert first == SCF
    second = next_step([GOOD_SCF], PLAN)
    assert second == BandsStep(ground_state=SCF, nbnd=20)
    third = next_step([GOOD_SCF, bands(20, 26.0)], PLAN)
    assert third == ResponseStep(bands=BandsStep(ground_state=SCF, nbnd=20))
    end = next_step([GOOD_SCF, bands(20, 26.0), response(4000, 4000, 4000)], PLAN)
    assert end == Finished(outcome=Outcome.DONE)


def test_replay_of_a_history_gives_its_own_steps() -> None:
    history = [GOOD_SCF, bands(20, 23.0), bands(24, 25.5), response(4000, 6000, 4000)]
    for i in range(2):
        assert next_step(history[:i], PLAN) == history[i][0]
    for i in range(len(history)):
        assert next_step(history[:i], PLAN) == next_step(history[:i], PLAN)


def test_short_bands_are_redone_three_times() -> None:
    history = [GOOD_SCF]
    counts = []
    for top in (15.0, 18.0, 21.0, 24.0):
        step = next_step(history, PLAN)
        assert isinstance(step, BandsStep)
        counts.append(step.nbnd)
        history.append(bands(step.nbnd, top))
    assert counts == sorted(set(counts))
    # 24 eV after the last retry is above 20 + 2 eV: accepted.
    assert isinstance(next_step(history, PLAN), ResponseStep)
    history[-1] = bands(counts[-1], 21.9)
    end = next_step(history, PLAN)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.FAILED
    assert "reach only 21.9 eV" in end.reason
    assert end.diagnosis == "bands_short"


@pytest.mark.parametrize("gap", [-0.4, 0.0, 0.049])
def test_small_gap_is_a_metal_even_when_bands_are_short(gap: float) -> None:
    end = next_step([GOOD_SCF, bands(20, 10.0, gap)], PLAN)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.METAL
    assert f"{gap:.3f} eV" in end.reason


def test_unconverged_direction_is_named_with_its_similarity() -> None:
    end = next_step([GOOD_SCF, bands(20, 26.0), response(4000, None, 4000)], PLAN)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.UNCONVERGED
    assert end.reason == "local fields along y (SC 0.812) are not converged at 10000 mRy (threshold 0.9)"
    assert end.diagnosis == "local_fields_unconverged"


def test_ladder_that_gives_up_ends_unconverged() -> None:
    plan = replace(PLAN, ladder=Ladder(cutoffs_ry=(40,), kgrids=((4, 4, 4),), tolerance_ev=0.01))
    end = next_step([GOOD_SCF], plan)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.UNCONVERGED
    assert end.reason.startswith("ground state: the cutoff ladder ended")
    assert end.diagnosis == "ground_state_unconverged"


REDUCED = replace(PLAN, reduced_basis=True)
POTENTIAL: tuple[Step, Done] = (PotentialStep(ground_state=SCF), PotentialDone())


def spectra(
    *, gap: float = 2.0, response: ResponseDone | None, agreed: bool | None = None
) -> tuple[Step, Done]:
    done = SpectraDone(
        bands=BandsDone(gap_indirect_ev=gap, gap_direct_ev=gap + 1, top_ev=25.5),
        accuracy=BandAccuracy(
            window_error_mev=1.0, top_error_mev=2.0, pw_error_mev=0.1, n_functions=90, n_samples=9
        ),
        nbnd=20,
        kgrids=((8, 8, 8), (16, 16, 16)),
        n_kpoints=100,
        kgrid_similarity=(0.99, 0.95, 0.99),
        kgrid_converged=agreed,
        bands_cpu_s=1.0,
        response=response,
    )
    return SpectraStep(ground_state=SCF), done


CONVERGED = ResponseDone(
    converged_gmax_mry=(4000, 4000, 4000), last_gmax_mry=10000, last_similarity=(0.95, 0.95, 0.97)
)


def test_reduced_basis_needs_the_potential_and_then_gives_everything() -> None:
    assert next_step([GOOD_SCF], REDUCED) == PotentialStep(ground_state=SCF)
    assert next_step([GOOD_SCF, POTENTIAL], REDUCED) == SpectraStep(ground_state=SCF)
    end = next_step([GOOD_SCF, POTENTIAL, spectra(response=CONVERGED)], REDUCED)
    assert end == Finished(outcome=Outcome.DONE)


@pytest.mark.parametrize("way", ["nscf", "reduced-basis"])
def test_ipa_alone_is_done_without_a_ladder(way: str) -> None:
    ipa = ResponseDone(converged_gmax_mry=(None, None, None), last_gmax_mry=0, last_similarity=None)
    alone = replace(PLAN if way == "nscf" else REDUCED, local_fields=False)
    if way == "nscf":
        last: list[tuple[Step, Done]] = [bands(20, 26.0), (response(None, None, None)[0], ipa)]
    else:
        last = [POTENTIAL, spectra(response=ipa)]
    assert next_step([GOOD_SCF, *last], alone) == Finished(outcome=Outcome.DONE)


def test_metal_in_the_reduced_basis() -> None:
    end = next_step([GOOD_SCF, POTENTIAL, spectra(gap=0.01, response=None)], REDUCED)
    told = "indirect gap 0.010 eV is below 0.05 eV"
    assert end == Finished(outcome=Outcome.METAL, reason=told, diagnosis="small_gap")


def test_spectra_that_grids_do_not_agree_on_are_unconverged() -> None:
    end = next_step([GOOD_SCF, POTENTIAL, spectra(response=CONVERGED, agreed=False)], REDUCED)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.UNCONVERGED
    assert end.reason == "k-grid: spectra on 16x16x16 agree with those before to SC 0.950 only"
    assert end.diagnosis == "kgrid_unconverged"


@pytest.mark.parametrize("failed", ["potential", "spectra"])
def test_dense_nscf_is_the_last_resort(failed: str) -> None:
    broken = StepFailed(reason="no")
    history: list[tuple[Step, Done]] = [GOOD_SCF]
    if failed == "spectra":
        history += [POTENTIAL, (SpectraStep(ground_state=SCF), broken)]
    else:
        history += [(PotentialStep(ground_state=SCF), broken)]
    assert next_step(history, REDUCED) == BandsStep(ground_state=SCF, nbnd=20)
    history += [bands(20, 26.0)]
    assert next_step(history, REDUCED) == ResponseStep(bands=BandsStep(ground_state=SCF, nbnd=20))
    history[-1] = (BandsStep(ground_state=SCF, nbnd=20), broken)
    assert next_step(history, REDUCED) == Finished(outcome=Outcome.FAILED, reason="no")


def test_failed_step_ends_the_job() -> None:
    why = {"reason": "scf: broken", "diagnosis": "symmetry", "advice": "mend the structure"}
    end = next_step([(SCF, StepFailed(**why))], PLAN)
    assert end == Finished(outcome=Outcome.FAILED, **why)


# nbnd that just reached about 25 eV at every k of the spectra's grid (measured with pw.x, 60 Ry).
@pytest.mark.parametrize(
    ("n_electrons", "volume", "needed"),
    [(8, 40.05, 24), (10, 16.33, 12), (16, 36.2, 24), (16, 44.8, 25), (8, 11.35, 11)],
)
def test_first_estimate_is_enough_and_not_far_too_much(
    n_electrons: int, volume: float, needed: int
) -> None:
    assert needed <= estimate_nbnd(n_electrons, volume, 25.0) <= needed + 5


def test_next_count_grows_with_what_is_missing() -> None:
    assert enlarge_nbnd(20, 24.99, 25.0) >= 22
    assert enlarge_nbnd(20, 20.0, 25.0) > enlarge_nbnd(20, 23.0, 25.0)
    # Si: 24 bands reach 25 eV, 20 bands 21.5 eV.
    assert 24 <= enlarge_nbnd(20, 21.5, 25.0) <= 26


LADDER = Ladder(
    cutoffs_ry=(60, 65), kgrids=((4, 4, 4), (6, 6, 6), (8, 8, 8)), tolerance_ev=0.04, probe_kgrid=(2, 2, 2)
)
CLIMBING = replace(REDUCED, ladder=LADDER)


def scf(cutoff: int, n: int, energy_per_atom_ev: float = 0.0, **more: object) -> tuple[Step, Done]:
    step = ScfStep(ecutwfc_ry=cutoff, kgrid=(n, n, n), **more)  # type: ignore[arg-type]
    return step, ScfDone(energy_ev=energy_per_atom_ev * PLAN.n_atoms)


CUTOFF_FOUND = [
    scf(60, 2, is_loose=True),
    scf(65, 2, is_loose=True, start="scf-60Ry-2x2x2-loose"),
    scf(60, 4, start="scf-60Ry-2x2x2-loose"),
]
GROUND_STATE = CUTOFF_FOUND[-1][0]
assert isinstance(GROUND_STATE, ScfStep)
AFTER_POTENTIAL = [*CUTOFF_FOUND, (PotentialStep(ground_state=GROUND_STATE), PotentialDone())]


def checked(change_per_atom_ev: float | None) -> tuple[Step, Done]:
    """Spectra whose bands say how the energy changes on the next grid."""
    done = spectra(response=CONVERGED)[1]
    assert isinstance(done, SpectraDone)
    change_ev = None if change_per_atom_ev is None else change_per_atom_ev * PLAN.n_atoms
    step = SpectraStep(ground_state=GROUND_STATE, check_kgrid=(6, 6, 6))
    return step, replace(done, energy_change_ev=change_ev)


def test_steps_of_a_ladder_start_from_the_ones_before() -> None:
    for i, (step, _) in enumerate(CUTOFF_FOUND):
        assert next_step(CUTOFF_FOUND[:i], CLIMBING) == step


def test_loose_run_that_fails_is_done_without() -> None:
    coarse = ScfStep(ecutwfc_ry=60, kgrid=(2, 2, 2), is_loose=True)
    history: list[tuple[Step, Done]] = [(coarse, StepFailed(reason="no"))]
    assert next_step(history, CLIMBING) == scf(60, 4)[0]
    history += [scf(60, 4), scf(65, 4, is_loose=True, start="scf-60Ry-4x4x4")]
    assert next_step(history[:2], CLIMBING) == history[2][0]
    # The reduced basis is none the worse for it.
    assert isinstance(next_step(history, CLIMBING), PotentialStep)
    broken: tuple[Step, Done] = (scf(60, 4)[0], StepFailed(reason="broken"))
    assert next_step([history[0], broken], CLIMBING) == Finished(outcome=Outcome.FAILED, reason="broken")


def test_metal_found_by_a_loose_run_is_one() -> None:
    coarse = ScfStep(ecutwfc_ry=60, kgrid=(2, 2, 2), is_loose=True)
    end = next_step([(coarse, StepFailed(reason="smearing is needed", is_metal=True))], CLIMBING)
    assert end == Finished(outcome=Outcome.METAL, reason="smearing is needed")


def test_bands_tell_the_energy_on_the_next_grid() -> None:
    assert next_step(CUTOFF_FOUND, CLIMBING) == AFTER_POTENTIAL[-1][0]
    assert next_step(AFTER_POTENTIAL, CLIMBING) == checked(None)[0]
    assert next_step([*AFTER_POTENTIAL, checked(0.001)], CLIMBING) == Finished(outcome=Outcome.DONE)


def test_next_grid_is_run_where_the_energy_changes() -> None:
    history = [*AFTER_POTENTIAL, checked(0.07)]
    denser = scf(60, 8, 0.071, is_loose=True, start="scf-60Ry-4x4x4")
    assert next_step(history, CLIMBING) == denser[0]
    # 6x6x6 and 8x8x8 agree: the smaller becomes the ground state, and is run now.
    ground_state = scf(60, 6, 0.07, start="scf-60Ry-8x8x8-loose")
    assert next_step([*history, denser], CLIMBING) == ground_state[0]
    history += [denser, ground_state]
    assert isinstance(ground_state[0], ScfStep)
    potential = PotentialStep(ground_state=ground_state[0])
    assert next_step(history, CLIMBING) == potential
    history.append((potential, PotentialDone()))
    # Its own grid has been checked: 8x8x8 was run.
    again = SpectraStep(ground_state=ground_state[0])
    assert next_step(history, CLIMBING) == again
    last = again, spectra(response=CONVERGED)[1]
    assert next_step([*history, last], CLIMBING) == Finished(outcome=Outcome.DONE)


def test_large_change_by_the_bands_is_not_believed() -> None:
    expected = scf(60, 6, is_loose=True, start="scf-60Ry-4x4x4")[0]
    assert next_step([*AFTER_POTENTIAL, checked(-3.0)], CLIMBING) == expected


def test_change_close_to_the_tolerance_is_settled_by_pw() -> None:
    history = [*AFTER_POTENTIAL, checked(0.0395)]
    tight = scf(60, 6, 0.0395, start="scf-60Ry-4x4x4")
    assert next_step(history, CLIMBING) == tight[0]
    assert next_step([*history, tight], CLIMBING) == Finished(outcome=Outcome.DONE)


def test_without_a_reduced_basis_the_next_grid_is_run() -> None:
    expected = scf(60, 6, is_loose=True, start="scf-60Ry-4x4x4")[0]
    assert next_step(CUTOFF_FOUND, replace(CLIMBING, reduced_basis=False)) == expected
    failed: tuple[Step, Done] = (checked(None)[0], StepFailed(reason="no basis"))
    assert next_step([*AFTER_POTENTIAL, failed], CLIMBING) == expected


def test_metal_ends_a_ladder_that_has_not_ended() -> None:
    step, done = checked(0.5)
    assert isinstance(done, SpectraDone)
    metal = replace(done, response=None, bands=replace(done.bands, gap_indirect_ev=-0.2))
    end = next_step([*AFTER_POTENTIAL, (step, metal)], CLIMBING)
    assert isinstance(end, Finished)
    assert end.outcome is Outcome.METAL
