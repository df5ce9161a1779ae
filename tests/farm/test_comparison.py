"""Two ladders side by side: which rungs, which directions, which is the reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from farm.comparison import agreement, worst_difference
from farm.errors import InputError
from farm.job import Engine, Job
from farm.result import LadderStep, Result
from farm.spectrum import similarity_coefficient


@pytest.fixture
def native(make_job: Callable[..., Job], make_result: Callable[..., Result]) -> Result:
    """IPA and 2 Ry, of our solver."""
    return make_result(make_job("periclase"))


def _scaled(step: LadderStep, factor: float, **changes: int) -> LadderStep:
    return replace(step, eps=1 + (step.eps - 1) * factor, **changes)


def test_yambo_is_the_reference(native: Result) -> None:
    yambo = replace(
        native, engine=Engine.YAMBO, ladder=tuple(_scaled(step, 1.25) for step in native.ladder)
    )
    ipa, rpa = agreement(native.ladder, yambo)
    assert (ipa.gmax_mry, rpa.gmax_mry) == (0, 2000)
    # 1 - |X - 1.25 X| / |1.25 X|
    assert ipa.similarity == pytest.approx((0.8, 0.8, 0.8))
    assert worst_difference([ipa, rpa]) == pytest.approx(0.2)
    assert rpa.n_g == (15, 15)
    ours, theirs = ipa.eps_inf
    assert theirs[0] - 1 == pytest.approx(1.25 * (ours[0] - 1))
    assert ipa.to_dict()["eps_inf"]["native"] == list(ours)


def test_only_rungs_that_both_have(native: Result) -> None:
    yambo = replace(native, ladder=(*native.ladder, _scaled(native.ladder[1], 0.9, gmax_mry=4000, n_g=27)))
    assert [rung.gmax_mry for rung in agreement(native.ladder, yambo)] == [0, 2000]


def test_what_yambo_did_not_compute_is_not_compared(native: Result) -> None:
    longer = (*native.ladder, _scaled(native.ladder[1], 0.9, gmax_mry=4000, n_g=27))
    repeated = (*native.ladder, replace(native.ladder[1], gmax_mry=4000, n_g=27))
    yambo = replace(native, ladder=repeated, gmax_converged_mry=(2000, 4000, None))
    *_, last = agreement(longer, yambo)
    assert last.similarity[0] is None
    energies_ev = native.energies_ev
    expected = similarity_coefficient(longer[2].eps.imag[1], repeated[2].eps.imag[1], energies_ev)
    assert last.similarity[1:] == (expected, expected)


def test_other_photon_energies_are_refused(native: Result) -> None:
    coarse = tuple(replace(step, eps=np.ascontiguousarray(step.eps[:, ::2])) for step in native.ladder)
    with pytest.raises(InputError, match="photon energies"):
        agreement(coarse, native)
