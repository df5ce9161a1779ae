from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.interchange.decimals import EXACT, as_float32, recipe, recovered, shortest

LARGEST = float(np.finfo(np.float32).max)
DOUBLES = st.floats(min_value=-LARGEST, max_value=LARGEST)


def bits(values: np.ndarray) -> list[int]:
    return np.asarray(values, dtype=np.float64).view(np.uint64).tolist()


@given(st.lists(DOUBLES, min_size=1, max_size=40))
def test_any_doubles_come_back_to_the_last_bit(numbers: list[float]) -> None:
    doubles = np.array(numbers)
    assert bits(recovered(as_float32(doubles), recipe(doubles))) == bits(doubles)


@given(
    st.lists(
        st.tuples(st.integers(-999_999, 999_999), st.integers(-11, 15)),
        min_size=1,
        max_size=40,
    )
)
def test_six_digits_need_nothing_beside_their_number(decimals: list[tuple[int, int]]) -> None:
    # As a reader of the text gets them: Python's float is correctly rounded.
    doubles = np.array([float(f"{m}e{e - 5}") for m, e in decimals])
    assert recipe(doubles) == 6
    assert bits(recovered(as_float32(doubles), 6)) == bits(doubles)


@pytest.mark.parametrize("exponent", range(-16, 23))
def test_powers_of_ten_and_their_neighbours(exponent: int) -> None:
    texts = [f"1e{exponent}", f"9.99999e{exponent}", f"-1.00001e{exponent}"]
    doubles = np.array([float(text) for text in texts])
    assert recipe(doubles) == 6


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0.0, 1.5], 6),
        ([0.5, 16777215.0], 8),
        ([float(np.float32(0.1)), float(np.float32(1 / 3))], EXACT),
        ([16777216.0, 123456792.0], 9),
    ],
)
def test_the_shortest_recipe_that_works_is_taken(numbers: list[float], expected: int) -> None:
    doubles = np.array(numbers)
    assert recipe(doubles) == expected
    assert bits(recovered(as_float32(doubles), expected)) == bits(doubles)


def test_zeros_keep_their_signs() -> None:
    doubles = np.array([0.0, -0.0, 1.5])
    how = recipe(doubles)
    for kept in (as_float32(doubles), np.array([-0.0, 0.0, 1.5], dtype=np.float32)):
        assert bits(recovered(kept, how)) == bits(doubles)


def test_a_remainder_is_a_third_of_the_numbers() -> None:
    doubles = np.random.default_rng(1).normal(size=2001)
    how = recipe(doubles)
    assert isinstance(how, dict)
    assert len(how["remainder"]) < 0.75 * doubles.nbytes
    assert bits(recovered(as_float32(doubles), how)) == bits(doubles)


@pytest.mark.parametrize(
    "how", [5, "6", None, {}, {"remainder": "*"}, {"remainder": "AAAA"}, {"remainder": "eJwDAAAAAAE="}]
)
def test_what_is_no_recipe_is_an_error(how: object) -> None:
    with pytest.raises(ValueError, match=r"say how|damaged"):
        recovered(np.ones(3, dtype=np.float32), how)  # type: ignore[arg-type]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_shortest_decimals_bring_float32_back(numbers: list[float]) -> None:
    kept = np.array(numbers, dtype=np.float32)
    assert shortest(kept).astype(np.float32).tobytes() == kept.tobytes()
