"""How long a worker may stay, and what fits: decided from numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.cost_model import CostModel
from farm.cost_prior import CostPrior
from farm.stage import Engine, Stage
from workers.walltime import SPARE_S, Walltime, end_told_s, needed_wall_s, parse_duration_s, why_leave

FOUR_HOURS = Walltime(begin_s=1000.0, end_s=1000.0 + 4 * 3600, grace_s=90.0)
PRIOR = CostPrior(cpu_s=(60.0, 20.0, 20.0), features=(0.0,), memory_mb=500.0)
seconds = st.floats(0.0, 1e6)


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [
        ("4h", 14400.0),
        ("90m", 5400.0),
        ("1d12h", 129600.0),
        ("1h30m", 5400.0),
        ("0.5h", 1800.0),
        ("45s", 45.0),
        ("04:00:00", 14400.0),
        ("1-12:00:00", 129600.0),
        ("12:30", 750.0),
        (" 2:00\n", 120.0),
    ],
)
def test_durations(text: str, expected_s: float) -> None:
    assert parse_duration_s(text) == expected_s


@pytest.mark.parametrize("text", ["", "4", "soon", "h", "4h 30m", "-4h", "30m4h", "UNLIMITED", "NOT_SET"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration_s(text) is None


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_batch_system_s_clock_is_read_as_it_is_written(days: int, h: int, m: int, s: int) -> None:
    expected_s = 86400 * days + 3600 * h + 60 * m + s
    assert parse_duration_s(f"{days}-{h:02d}:{m:02d}:{s:02d}") == expected_s
    assert (parse_duration_s(f"{days}d{h}h{m}m{s}s")) == expected_s


@given(needed_s=seconds, now_s=seconds, grace_s=st.floats(0.0, 600.0), walltime_s=seconds)
def test_what_is_begun_ends_before_the_grace(
    needed_s: float, now_s: float, grace_s: float, walltime_s: float
) -> None:
    walltime = Walltime(begin_s=0.0, end_s=walltime_s, grace_s=grace_s)
    if not walltime.why_not(needed_s, now_s):
        assert now_s + needed_s + grace_s + SPARE_S <= walltime_s + 1e-6
    else:
        # Later it does not fit either, and nor does a larger one.
        assert walltime.why_not(needed_s, now_s + 1.0)
        assert walltime.why_not(needed_s + 1.0, now_s)


@given(now_s=seconds, grace_s=st.floats(0.0, 600.0), walltime_s=seconds)
def test_it_drains_before_it_is_over(now_s: float, grace_s: float, walltime_s: float) -> None:
    walltime = Walltime(begin_s=0.0, end_s=walltime_s, grace_s=grace_s)
    if walltime.is_over(now_s) and walltime_s > 0:
        assert walltime.drains(now_s)


def test_the_reason_says_what_is_left_and_what_is_needed() -> None:
    now_s = FOUR_HOURS.end_s - 90.0 - SPARE_S - 12 * 60
    assert FOUR_HOURS.why_not(40 * 60, now_s) == "leaves in 12 min; the next job needs 40 min"
    assert FOUR_HOURS.why_not(11 * 60, now_s) == ""


@given(ranks=st.integers(1, 64), engine=st.sampled_from(Engine))
def test_a_job_needs_more_than_predicted_and_less_on_more_ranks(ranks: int, engine: Engine) -> None:
    alone_s = needed_wall_s(100.0, PRIOR, None, engine, 1)
    shared_s = needed_wall_s(100.0, PRIOR, None, engine, ranks)
    assert shared_s <= alone_s
    assert alone_s > PRIOR.total_cpu_s
    # Bands and response of our own solver are one process, whatever the ranks.
    serial_s = alone_s * 0.4 if engine is Engine.NATIVE else 0.0
    assert shared_s >= serial_s


def test_what_was_measured_narrows_what_a_job_may_need() -> None:
    model = CostModel()
    for _ in range(30):
        model = model.observe(PRIOR, dict(zip(Stage, PRIOR.cpu_s, strict=True)))
    surely_s = needed_wall_s(100.0, PRIOR, model, Engine.NATIVE, 1)
    assert PRIOR.total_cpu_s < surely_s < needed_wall_s(100.0, PRIOR, None, Engine.NATIVE, 1)


def test_without_a_prior_the_prediction_counts_twice() -> None:
    assert 200.0 <= needed_wall_s(100.0, None, None, Engine.NATIVE, 8) < 220.0


@pytest.mark.parametrize(
    ("idle_s", "until_idle_s", "left_s", "reason"),
    [
        (10.0, None, 3600.0, ""),
        (10.0, 60.0, 3600.0, ""),
        (60.0, 60.0, 3600.0, "had no job for 60 s"),
        (0.0, None, 61.0, ""),
        (0.0, 60.0, 50.0, "its walltime ends: 50 s left for jobs"),
    ],
)
def test_why_a_worker_leaves(idle_s: float, until_idle_s: float | None, left_s: float, reason: str) -> None:
    now_s = FOUR_HOURS.end_s - FOUR_HOURS.grace_s - SPARE_S - left_s
    assert why_leave(FOUR_HOURS, idle_s, until_idle_s=until_idle_s, now_s=now_s) == reason


def test_without_an_end_only_idleness_counts() -> None:
    assert why_leave(None, 1e9, until_idle_s=None, now_s=0.0) == ""
    assert why_leave(None, 301.0, until_idle_s=300.0, now_s=0.0) == "had no job for 5 min"


@pytest.mark.parametrize(
    ("environment", "end_s"),
    [
        ({}, None),
        ({"SLURM_JOB_END_TIME": "1790000000", "SLURM_JOB_ID": "7"}, 1790000000.0),
        ({"PBS_WALLTIME": "3600"}, 4600.0),
        ({"SLURM_JOB_END_TIME": "Unknown"}, None),
    ],
)
def test_what_a_batch_system_tells_of_the_end(environment: dict[str, str], end_s: float | None) -> None:
    assert end_told_s(environment, now_s=1000.0) == end_s
