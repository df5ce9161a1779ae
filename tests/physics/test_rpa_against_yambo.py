"""Diamond on the reference grid against YAMBO 5.2.4: same bands, same G, same spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farm.spectrum import similarity_coefficient
from workers.rpa.response import Response, ResponseRequest, compute_response

YAMBO = Path(__file__).parent / "fixtures" / "yambo" / "C"


@pytest.fixture(scope="module")
def diamond(diamond_on_reference_grid: Path) -> Response:
    request = ResponseRequest(
        gmax_mry=(0, 2000, 4000), energies_ev=np.linspace(0, 20, 2001), damping_ev=0.3
    )
    return compute_response(diamond_on_reference_grid, request)


@pytest.mark.parametrize(("step", "gmax", "n_g"), [(0, 0, 1), (1, 2000, 9)])
def test_spectrum_of_every_direction(diamond: Response, step: int, gmax: int, n_g: int) -> None:
    energies, imag, real = np.loadtxt(YAMBO / f"o-RPA_dir_100_sc_{gmax}.eps_q1_inv_rpa_dyson")[:, :3].T
    assert diamond.n_g[step] == n_g
    for direction in range(3):
        ours = diamond.eps[step, direction]
        assert 1 - similarity_coefficient(ours.imag, imag, energies) < 5e-5
        assert ours.real[0] == pytest.approx(real[0], abs=2e-4)


def test_static_offset_is_that_of_the_time_ordered_function(diamond: Response) -> None:
    imag = np.loadtxt(YAMBO / "o-RPA_dir_100_sc_2000.eps_q1_inv_rpa_dyson")[0, 1]
    assert diamond.eps[1, 0, 0].imag == pytest.approx(imag, rel=1e-3)


def test_gaps(diamond: Response) -> None:
    # As read by YAMBO from the same run on all 512 points.
    assert diamond.gap_indirect_ev == pytest.approx(4.26821, abs=1e-4)
    assert diamond.gap_direct_ev == pytest.approx(5.66422, abs=1e-4)
    assert diamond.top_band_min_above_vbm_ev == pytest.approx(20.5335, abs=1e-3)
    assert (diamond.n_bands, diamond.n_valence, diamond.n_kpoints_used) == (10, (4,), 288)
