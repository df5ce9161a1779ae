"""What every response function obeys: causality, passivity, sum rules, and order in Gmax."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farm.kpoints import FloatArray
from farm.spectrum import kramers_kronig_real
from workers.rpa.response import Response, ResponseRequest, compute_response

# Past the highest transition by 100 eV, ten points a damping: the integrals below are then complete.
WIDE = np.linspace(0.0, 200.0, 2001)
LADDER = (0, 500, 1000, 2000, 4000, 8000)


@pytest.fixture(scope="module", params=["hexagonal", "P2_1", "P-1"])
def save_dir(
    request: pytest.FixtureRequest,
    boron_nitride_small: Path,
    low_symmetry_save: Callable[[str], Path],
) -> Path:
    return boron_nitride_small if request.param == "hexagonal" else low_symmetry_save(request.param)


def retarded(
    save_dir: Path, energies_ev: FloatArray, gmax_mry: tuple[int, ...] = LADDER, damping_ev: float = 1.0
) -> Response:
    request = ResponseRequest(
        gmax_mry=gmax_mry, energies_ev=energies_ev, damping_ev=damping_ev, green_function="retarded"
    )
    return compute_response(save_dir, request)


@pytest.fixture(scope="module")
def wide(save_dir: Path) -> Response:
    return retarded(save_dir, WIDE)


def test_real_part_is_the_kramers_kronig_transform(wide: Response, save_dir: Path) -> None:
    low = WIDE <= 40
    scale = np.abs(wide.eps[..., low]).max()
    error = np.abs(kramers_kronig_real(wide.eps.imag, WIDE) - wide.eps.real)[..., low].max() / scale
    assert error < 2e-5  # 5e-6
    # The time-ordered function is not causal: the transform tells the two apart.
    ordered = compute_response(
        save_dir, ResponseRequest(gmax_mry=(0, 2000), energies_ev=WIDE, damping_ev=1.0)
    ).eps
    error = np.abs(kramers_kronig_real(ordered.imag, WIDE) - ordered.real)[..., low].max() / scale
    assert error > 1e-2


def test_local_fields_move_oscillator_strength_and_keep_its_sum(wide: Response) -> None:
    # eps_M -> 1 - w_p^2/w^2 comes from the head alone: the wings' part falls as w^-4. 2e-5 lie above WIDE.
    strength = np.trapezoid(wide.eps.imag * WIDE, WIDE, axis=-1)
    assert np.abs(strength / strength[0] - 1).max() < 6e-5
    assert np.abs(wide.eps[-1].imag - wide.eps[0].imag).max() > 0.1


def test_screening_falls_with_every_shell(wide: Response) -> None:
    # At w = 0 and without losses B is positive definite, so the Schur complement is ordered in Gmax.
    static = wide.eps[..., 0].real
    assert wide.eps[..., 0].imag == pytest.approx(0.0, abs=1e-10)
    assert (np.diff(static, axis=0) < 1e-6).all()
    assert (static[-1] < static[0] - 0.01).all()
    assert (static > 1).all()


def test_nothing_amplifies(wide: Response) -> None:
    assert wide.eps[..., 1:].imag.min() > 0
    # ... and no longitudinal loss -Im 1/eps is negative.
    assert (-1 / wide.eps[..., 1:]).imag.min() > 0


def test_every_gmax_of_a_ladder_is_that_gmax_alone(save_dir: Path) -> None:
    energies = np.linspace(0.0, 20.0, 41)
    ladder = retarded(save_dir, energies, damping_ev=0.3)
    assert sorted(set(ladder.n_g)) == list(dict.fromkeys(ladder.n_g))
    for step, gmax in enumerate(LADDER[1:], start=1):
        alone = retarded(save_dir, energies, (0, gmax), damping_ev=0.3)
        assert alone.n_g == (1, ladder.n_g[step])
        for ours, expected in ((ladder.eps[step], alone.eps[1]), (ladder.eps[0], alone.eps[0])):
            # 3e-5: the box of the pair densities grows with Gmax.
            assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


def test_energies_between_those_solved_for_are_as_good(save_dir: Path) -> None:
    # 2001 energies are interpolated from fewer, 21 are solved for one by one: 6e-7.
    fine = retarded(save_dir, np.linspace(0.0, 20.0, 2001), (0, 2000), damping_ev=0.3).eps
    coarse = retarded(save_dir, np.linspace(0.0, 20.0, 21), (0, 2000), damping_ev=0.3).eps
    assert np.abs(fine[..., ::100] - coarse).max() < 3e-6 * np.abs(fine).max()
