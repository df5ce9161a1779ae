"""Outputs of real runs: numbers as pw.x printed them, and runs that only look finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farm.errors import CalculationError
from workers.qe.inputs import PwInput
from workers.qe.outputs import PwOutput, band_edges, mismatch, parse_pw, scf_accuracies_ry


@pytest.fixture
def lif(good_nscf: Path) -> PwOutput:
    return parse_pw((good_nscf / "pw.out").read_text(), (good_nscf / "data-file-schema.xml").read_text())


@pytest.fixture
def lif_input(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(
        calculation="nscf",
        pseudo_files={"Li": "Li_ONCV_PBE-1.2.upf", "F": "F_ONCV_PBE-1.2.upf"},
        ecutwfc_ry=60,
        ecutrho_ry=240,
        nbnd=12,
        kgrid=None,
        kpoints=((0.0, 0.0, 0.0),) * 64,
        kweights=(1.0,) * 64,
    )


def test_bands_are_what_pw_printed(lif: PwOutput) -> None:
    assert lif.eigenvalues_ev.shape == (64, 12)
    assert lif.n_electrons == 10
    assert lif.version == "6.7MaX"
    # The last k-point of the standard output.
    printed = [-39.8818, -18.7914, -0.1813, 0.7994, 0.8583, 11.1701, 19.4704, 21.9227]
    np.testing.assert_allclose(lif.eigenvalues_ev[-1, :8], printed, atol=1e-4)
    edges = band_edges(lif)
    assert edges.valence_maximum_ev == pytest.approx(0.9298, abs=1e-4)
    assert edges.gap_indirect_ev == pytest.approx(10.1285 - 0.9298, abs=2e-4)
    assert edges.top_ev == pytest.approx(25.1884, abs=1e-3)
    assert (lif.cpu_s, lif.wall_s) == (2.75, 8.11)


def test_scf_that_did_not_converge_is_finished_but_not_good(
    qe_texts: Callable[[str], dict[str, str]], failures: Path, pw_input: PwInput
) -> None:
    stdout = qe_texts("scf_not_converged")["pw.out"]
    output = parse_pw(stdout, (failures / "scf_not_converged" / "data-file-schema.xml").read_text())
    assert output.energy_ev == pytest.approx(-15.80 * 13.6057, rel=0.01)
    assert not output.converged
    assert mismatch(output, pw_input, 8) == "the scf cycle did not converge"


def test_good_run_passes(lif: PwOutput, lif_input: PwInput) -> None:
    assert mismatch(lif, lif_input, 10) is None


@pytest.mark.parametrize(
    ("change", "n_electrons", "word"),
    [
        ({"ecutwfc_ry": 50.0}, 10, "ecutwfc"),
        ({"ecutrho_ry": 200.0}, 10, "ecutrho"),
        ({"pseudo_files": {"Li": "Na_ONCV_PBE-1.2.upf", "F": "F_ONCV_PBE-1.2.upf"}}, 10, "pseudo"),
        ({"nbnd": 13}, 10, "bands"),
        ({"kpoints": ((0.0, 0.0, 0.0),) * 63}, 10, "k-points"),
        ({"calculation": "scf"}, 10, "nscf run"),
        ({}, 9, "electrons"),
    ],
)
def test_run_that_is_not_what_was_asked(
    lif: PwOutput, lif_input: PwInput, change: dict[str, object], n_electrons: int, word: str
) -> None:
    assert word in str(mismatch(lif, lif_input.evolve(**change), n_electrons))


def test_eigenvalue_that_is_not_finite(lif: PwOutput, lif_input: PwInput) -> None:
    broken = lif.eigenvalues_ev.copy()
    broken[3, 4] = np.nan
    assert "finite" in str(mismatch(replace(lif, eigenvalues_ev=broken), lif_input, 10))


@pytest.mark.parametrize("cut", [0, 500, 60_000])
def test_truncated_xml_is_refused(good_nscf: Path, cut: int) -> None:
    xml = (good_nscf / "data-file-schema.xml").read_text()[:cut]
    with pytest.raises(CalculationError, match="not complete"):
        parse_pw((good_nscf / "pw.out").read_text(), xml)


def test_killed_run_is_refused(qe_texts: Callable[[str], dict[str, str]]) -> None:
    with pytest.raises(CalculationError, match="JOB DONE"):
        parse_pw(qe_texts("scf_sigkill")["pw.out"], "")


def test_no_empty_band_has_no_gap(lif: PwOutput) -> None:
    with pytest.raises(CalculationError, match="no empty one"):
        band_edges(replace(lif, eigenvalues_ev=lif.eigenvalues_ev[:, :5]))


def test_accuracies_in_both_notations() -> None:
    text = "  estimated scf accuracy    <       0.05000000 Ry\n  estimated scf accuracy    <  2.8E-10 Ry\n"
    assert scf_accuracies_ry(text) == [0.05, 2.8e-10]
