"""Threads of the trainer."""

from __future__ import annotations

import pytest

from farm.usable_cpus import usable_cpus
from trainer.tasks import threads_of


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, str(usable_cpus())),
        ({"FARM_SUPERVISED": "1"}, "1"),
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "", "FARM_SUPERVISED": "1"}, "1"),
    ],
)
def test_threads_are_as_given_or_all_there_are_where_it_is_alone(
    environment: dict[str, str], threads: str
) -> None:
    assert threads_of(environment) == threads
