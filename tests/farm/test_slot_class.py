"""Which class a job belongs to, and which classes a slot serves."""

from __future__ import annotations

import math

import pytest

from farm.slot_class import SAFETY_FACTOR, SlotClass, served_by, slot_class

SMALL, MEDIUM, LARGE, HUGE = SlotClass


@pytest.mark.parametrize("each", list(SlotClass)[:-1])
def test_class_holds_its_bound_over_the_safety_factor_and_no_more(each: SlotClass) -> None:
    most_mb = each.memory_mb / SAFETY_FACTOR
    assert slot_class(most_mb) is each
    assert slot_class(most_mb * 1.001) is each.larger()


def test_no_memory_is_too_much() -> None:
    assert slot_class(1e9) is HUGE
    assert slot_class(0.0) is SMALL


@pytest.mark.parametrize(
    ("slot_memory_mb", "classes"),
    [
        (500.0, {SMALL}),
        (2_000.0, {SMALL}),
        (7_999.0, {SMALL}),
        (8_000.0, {SMALL, MEDIUM}),
        (32_000.0, {SMALL, MEDIUM, LARGE}),
        (32_001.0, {SMALL, MEDIUM, LARGE, HUGE}),
        (math.inf, {SMALL, MEDIUM, LARGE, HUGE}),
    ],
)
def test_slot_serves_what_it_holds(slot_memory_mb: float, classes: set[SlotClass]) -> None:
    assert served_by(slot_memory_mb) == classes


def test_out_of_memory_leads_to_the_last_class_and_ends() -> None:
    path, each = [SMALL], SMALL.larger()
    while each is not None:
        path.append(each)
        each = each.larger()
    assert path == [SMALL, MEDIUM, LARGE, HUGE]


def test_larger_classes_never_ask_for_fewer_ranks() -> None:
    ranks = [each.ranks for each in SlotClass]
    assert ranks == [1, 1, 4, 8]
