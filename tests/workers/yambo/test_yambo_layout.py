"""Ranks and memory of a response."""

from __future__ import annotations

import numpy as np
import pytest

from farm.errors import ResourceError
from workers.yambo.layout import (
    Dimensions,
    Layout,
    choose_layout,
    estimate_memory_mb,
    mesh_points,
    require_memory,
)

FCC = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


def _dimensions(
    n_kpoints: int, n_bands: int, n_filled: int, n_waves: int = 0, n_mesh: int = 0
) -> Dimensions:
    return Dimensions(
        n_kpoints=n_kpoints, n_bands=n_bands, n_filled=n_filled, n_waves=n_waves, n_mesh=n_mesh
    )


@pytest.mark.parametrize(
    ("available", "sizes", "expected"),
    [
        (1, (512, 10, 4), Layout()),
        (2, (512, 10, 4), Layout(ranks=2, k=2, c=1, v=1)),
        (7, (512, 10, 4), Layout(ranks=7, k=7, c=1, v=1)),
        # k-points first, then empty, then filled bands.
        (8, (4, 10, 4), Layout(ranks=8, k=4, c=2, v=1)),
        (16, (2, 6, 4), Layout(ranks=16, k=2, c=2, v=4)),
        # No more than there is work for.
        (7, (1, 5, 4), Layout(ranks=4, k=1, c=1, v=4)),
        (64, (1, 2, 1), Layout()),
    ],
)
def test_ranks_are_shared(available: int, sizes: tuple[int, int, int], expected: Layout) -> None:
    layout = choose_layout(available, _dimensions(*sizes))
    assert layout == expected
    assert layout.ranks <= available
    assert layout.has_roles == (layout.ranks > 1)


# n_k, bands, filled, plane waves, conventional edge in angstrom, G vectors, largest resident MB of yambo.
@pytest.mark.parametrize(
    ("sizes", "edge", "n_g", "measured_mb"),
    [
        ((512, 10, 4, 610), 3.567, 1, 267),
        ((512, 10, 4, 610), 3.567, 9, 403),
        ((512, 12, 5, 889), 4.03, 27, 453),
        ((512, 18, 8, 1006), 4.25, 15, 752),
        ((512, 28, 8, 2405), 5.60, 27, 1463),
        ((512, 28, 8, 2405), 5.60, 59, 1505),
        ((64, 24, 4, 2152), 5.43, 27, 380),
        ((512, 24, 4, 2152), 5.43, 27, 1223),
    ],
)
def test_memory_is_that_of_recorded_runs(
    sizes: tuple[int, int, int, int], edge: float, n_g: int, measured_mb: float
) -> None:
    dimensions = _dimensions(*sizes, mesh_points(FCC * edge / 2, 60.0))
    estimate = estimate_memory_mb(dimensions, n_g, 2001)
    assert 0.87 * measured_mb < estimate < 1.35 * measured_mb


def test_block_grows_with_the_square_of_its_g_vectors() -> None:
    dimensions = _dimensions(256, 24, 8, 1931, 8775)
    grown = estimate_memory_mb(dimensions, 51, 2001) - estimate_memory_mb(dimensions, 7, 2001)
    # hBN: 676 MB with 7 G vectors, 755 MB with 51.
    assert grown == pytest.approx(79, abs=3)
    assert estimate_memory_mb(dimensions, 51, 2001, ranks=2) < 2 * estimate_memory_mb(dimensions, 51, 2001)


def test_too_much_is_refused_with_the_numbers() -> None:
    require_memory(1000.0, 1000.0, "x-2000")
    with pytest.raises(ResourceError, match=r"x-2000: yambo would need 1500 MB, this machine has 1000 MB"):
        require_memory(1500.0, 1000.0, "x-2000")
