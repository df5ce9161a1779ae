"""What steps cost, and which remedies worked, from the records of a job."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.job import Stage
from farm.result import Correction, StepUsage
from workers.history import (
    BandAccuracy,
    BandsDone,
    BandsStep,
    Done,
    PotentialDone,
    PotentialStep,
    ScfDone,
    ScfStep,
    SpectraDone,
    SpectraStep,
    Step,
    StepFailed,
)
from workers.launcher import Usage
from workers.manifest import Record
from workers.usage import judged_corrections, stage_usages, step_usages

SCF = ScfStep(ecutwfc_ry=40, kgrid=(4, 4, 4))
BANDS = BandsStep(ground_state=SCF, nbnd=20)
POTENTIAL = PotentialStep(ground_state=SCF)
SPECTRA = SpectraStep(ground_state=SCF)
GOOD_SCF = ScfDone(energy_ev=-200.0)
GOOD_BANDS = BandsDone(gap_indirect_ev=4.5, gap_direct_ev=5.0, top_ev=26.0)
GOOD_SPECTRA = SpectraDone(
    bands=GOOD_BANDS,
    accuracy=BandAccuracy(
        window_error_mev=1.5, top_error_mev=2.5, pw_error_mev=0.1, n_functions=90, n_samples=9
    ),
    nbnd=18,
    kgrids=((8, 8, 8),),
    n_kpoints=288,
    kgrid_similarity=None,
    kgrid_converged=None,
    bands_cpu_s=1.0,
    response=None,
)
FAILED = StepFailed(reason="no")


def record(step: Step, done: Done, *remedies: str, **usage: float) -> Record:
    corrections = tuple(
        Correction(step=step.name, diagnosis="wrong", evidence="x", remedy=remedy, changes_physics=False)
        for remedy in remedies
    )
    return Record(step=step, done=done, usage=Usage(**usage), corrections=corrections)  # type: ignore[arg-type]


def worked(*records: Record) -> list[tuple[str, bool | None]]:
    return [(correction.remedy, correction.worked) for correction in judged_corrections(records)]


def test_the_last_remedy_before_a_good_output_worked() -> None:
    told = worked(record(SCF, GOOD_SCF, "first", "second"), record(BANDS, GOOD_BANDS, "third"))
    assert told == [("first", False), ("second", True), ("third", True)]


def test_no_remedy_of_a_step_that_was_given_up_worked() -> None:
    told = worked(record(SCF, GOOD_SCF, "first"), record(BANDS, FAILED, "second", "third"))
    assert told == [("first", True), ("second", False), ("third", False)]


@pytest.mark.parametrize("step", [POTENTIAL, SPECTRA])
def test_the_other_way_worked_where_its_bands_are_good(step: Step) -> None:
    failed = record(step, FAILED, "again", "nscf")
    good, bad = record(BANDS, GOOD_BANDS, "cg"), record(BANDS, FAILED)
    assert worked(record(SCF, GOOD_SCF), failed, good) == [("again", False), ("nscf", True), ("cg", True)]
    assert worked(failed, bad) == [("again", False), ("nscf", False)]
    assert worked(failed, bad, good)[1] == ("nscf", True)
    # Bands before it prove nothing, and nothing was known when the worker was stopped.
    assert worked(good, failed)[2] == ("nscf", None)


def test_corrections_keep_all_they_said() -> None:
    sent = record(SCF, GOOD_SCF, "first")
    assert judged_corrections([sent]) == (replace(sent.corrections[0], worked=True),)
    assert judged_corrections([record(SCF, GOOD_SCF)]) == ()


def test_steps_are_told_in_their_order_with_failed_ones() -> None:
    usage = {"cpu_s": 3.0, "wall_s": 4.0, "peak_memory_mb": 50.0, "disk_mb": 1.5, "attempts": 2}
    told = step_usages([record(POTENTIAL, FAILED, "nscf", **usage), record(BANDS, GOOD_BANDS, cpu_s=1.0)])
    assert told[0] == StepUsage(
        name="potential",
        stage=Stage.BANDS,
        outcome="failed",
        attempts=2,
        cpu_s=3.0,
        wall_s=4.0,
        peak_memory_mb=50.0,
        disk_mb=1.5,
    )
    assert (told[1].name, told[1].outcome, told[1].cpu_s) == ("bands-20", "ok", 1.0)


def test_a_process_that_serves_two_stages_is_split_among_them_only() -> None:
    records = [
        record(SCF, GOOD_SCF, cpu_s=1.0, wall_s=1.0, peak_memory_mb=90.0),
        record(POTENTIAL, PotentialDone(), cpu_s=0.5, wall_s=0.5, peak_memory_mb=20.0),
        record(SPECTRA, GOOD_SPECTRA, cpu_s=4.0, wall_s=8.0, peak_memory_mb=300.0),
    ]
    stages = {
        usage.stage: (usage.cpu_s, usage.wall_s, usage.peak_memory_mb) for usage in stage_usages(records)
    }
    assert stages == {
        Stage.GROUND_STATE: (1.0, 1.0, 90.0),
        Stage.BANDS: (1.5, 2.5, 300.0),
        Stage.RESPONSE: (3.0, 6.0, 300.0),
    }
    steps = step_usages(records)
    assert [step.stage for step in steps] == [Stage.GROUND_STATE, Stage.BANDS, Stage.RESPONSE]
    assert sum(step.cpu_s for step in steps) == sum(cpu_s for cpu_s, _, _ in stages.values())


def test_attempts_add_up_and_the_largest_counts() -> None:
    first = Usage(cpu_s=1.0, wall_s=2.0, peak_memory_mb=50.0, disk_mb=3.0, attempts=1)
    second = Usage(cpu_s=0.5, wall_s=1.0, peak_memory_mb=70.0, disk_mb=2.0, attempts=1)
    assert first + second == Usage(cpu_s=1.5, wall_s=3.0, peak_memory_mb=70.0, disk_mb=3.0, attempts=2)
