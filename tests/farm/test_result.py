"""A result on its way through msgpack, with a band structure and without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest
from band_samples import chance_bands

from farm.errors import InputError
from farm.job import Job, Outcome, Stage
from farm.result import Result, StepUsage

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]


def test_a_band_structure_travels_with_the_result(make_job: MakeJob, make_result: MakeResult) -> None:
    bands = chance_bands(3)
    result = replace(make_result(make_job()), band_structure=bands)
    back = Result.unpack(result.pack())
    assert back.pack() == result.pack()
    assert back.band_structure is not None
    assert back.band_structure.pack() == bands.pack()


def test_steps_and_diagnosis_travel_with_the_result(make_job: MakeJob, make_result: MakeResult) -> None:
    step = StepUsage(
        name="scf-60Ry-4x4x4",
        stage=Stage.GROUND_STATE,
        outcome="failed",
        attempts=3,
        cpu_s=1.5,
        wall_s=2.5,
        peak_memory_mb=80.25,
        disk_mb=0.75,
    )
    failed = make_result(make_job(), Outcome.FAILED, "scf: scf_unconverged (...)")
    result = replace(failed, steps=(step,), diagnosis="scf_unconverged", advice="Smear it")
    back = Result.unpack(result.pack())
    assert back.steps == (step,)
    assert (back.diagnosis, back.advice) == ("scf_unconverged", "Smear it")


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.METAL])
def test_records_of_older_versions_have_none(
    make_job: MakeJob, make_result: MakeResult, outcome: Outcome
) -> None:
    payload = make_result(make_job(), outcome).pack()
    assert Result.unpack(payload).band_structure is None
    document = msgpack.unpackb(payload)
    for name in ("band_structure", "steps", "diagnosis", "advice"):
        del document[name]
    old = Result.unpack(msgpack.packb(document))
    assert old.band_structure is None
    assert old.pack() == payload


def test_a_spoilt_band_structure_is_an_input_error(make_job: MakeJob, make_result: MakeResult) -> None:
    document = msgpack.unpackb(replace(make_result(make_job()), band_structure=chance_bands(3)).pack())
    document["band_structure"]["n_valence"] = 70
    with pytest.raises(InputError, match="70 of 7 bands"):
        Result.unpack(msgpack.packb(document))
