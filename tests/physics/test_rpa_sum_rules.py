"""Checks of the response that need no reference."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from decks import Deck, RunPw, fcc

from farm.errors import CalculationError, InputError, MissingProgramError
from farm.units import HARTREE_EV
from workers.rpa.response import ResponseRequest, compute_response
from workers.rpa.save import read_save

ENERGIES = np.linspace(0.0, 30.0, 301)


def request(**changes: object) -> ResponseRequest:
    base = ResponseRequest(
        gmax_mry=(0, 2000, 8000), energies_ev=ENERGIES, damping_ev=0.3, green_function="retarded"
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]  # fields by name


def test_absorption_is_not_negative(boron_nitride_small: Path) -> None:
    retarded = compute_response(boron_nitride_small, request()).eps
    assert retarded.imag[..., 0] == pytest.approx(0.0, abs=1e-10)
    assert retarded.imag[..., 1:].min() > 0
    ordered = compute_response(boron_nitride_small, request(green_function="time-ordered")).eps
    assert ordered.imag.min() > 0
    assert ordered.imag[..., 0].min() > 1e-3  # the offset that marks a time-ordered spectrum


def test_smaller_gmax_is_a_leading_block(boron_nitride_small: Path) -> None:
    ladder = compute_response(boron_nitride_small, request())
    alone = compute_response(boron_nitride_small, request(gmax_mry=(0, 2000)))
    ipa = compute_response(boron_nitride_small, request(gmax_mry=(0,)))
    assert np.allclose(ladder.eps[:2], alone.eps, rtol=0, atol=1e-5)
    assert np.allclose(ladder.eps[:1], ipa.eps, rtol=0, atol=1e-6)  # amplitudes are single precision
    assert ladder.n_g[:2] == alone.n_g
    assert np.abs(ladder.eps[0] - ladder.eps[1])[2].max() > 0.1


def test_in_plane_fields_do_not_couple_to_the_first_shells(boron_nitride_small: Path) -> None:
    # 2000 mRy hold only (00l): the false convergence of the published ladder.
    ladder = compute_response(boron_nitride_small, request())
    assert ladder.n_g[1] == 7
    assert np.allclose(ladder.eps[0, 0], ladder.eps[1, 0], rtol=0, atol=1e-6)
    assert np.abs(ladder.eps[0, 0] - ladder.eps[2, 0]).max() > 0.1


def test_oscillator_strength_grows_with_bands_towards_the_f_sum(run_pw: RunPw) -> None:
    """int w Im eps dw -> (pi/2) w_p^2, w_p^2 = 4 pi n_electrons / V.

    At Baldereschi's mean-value point of fcc: on a coarse grid the band curvatures, which cancel over
    the whole zone, can lift the sum of the first bands above the limit.
    """
    deck = Deck(
        crystal=fcc(3.567, ("C", "C")), kpoints=np.array([[0.1477, 0.3112, 0.4588]]), weights=[1], n_bands=8
    )
    wide = request(gmax_mry=(0,), energies_ev=np.linspace(0, 150, 3001), damping_ev=0.1)
    energies = wide.energies_ev / HARTREE_EV
    shares = []
    for n_bands in (8, 16, 40):
        directory = run_pw(dataclasses.replace(deck, n_bands=n_bands))
        save = read_save(directory)
        limit = np.pi / 2 * 4 * np.pi * 2 * save.n_valence[0] / save.volume
        eps = compute_response(directory, wide).eps[0].imag.mean(axis=0)
        shares.append(float(np.trapezoid(eps * energies, energies)) / limit)
    assert 0.4 < shares[0] < shares[1] - 0.02 < shares[2] - 0.04
    assert 0.7 < shares[2] < 1.0


def test_what_is_missing_is_named(diamond_small: Path, tmp_path: Path) -> None:
    only_xml = tmp_path / "x.save"
    only_xml.mkdir()
    (only_xml / "data-file-schema.xml").write_bytes((diamond_small / "data-file-schema.xml").read_bytes())
    with pytest.raises(MissingProgramError, match=r"C_ONCV_PBE-1\.2\.upf is missing"):
        compute_response(only_xml, request())
    with pytest.raises(InputError, match=r"no wavefunctions of k-point 1 \(wfc1\.dat\)"):
        compute_response(only_xml, request(), pseudo_dir=diamond_small)
    whole = (diamond_small / "wfc1.dat").read_bytes()
    (only_xml / "wfc1.dat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CalculationError, match="is cut short"):
        compute_response(only_xml, request(), pseudo_dir=diamond_small)
    (only_xml / "wfc1.dat").write_bytes((diamond_small / "wfc2.dat").read_bytes())
    with pytest.raises(CalculationError, match="is of another run"):
        compute_response(only_xml, request(), pseudo_dir=diamond_small)
