"""What p2y and yambo leave behind, recorded: good runs, and runs that only look good."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.errors import CalculationError
from tests.workers.yambo.conftest import record
from workers.yambo.inputs import YamboInput
from workers.yambo.outputs import (
    ResponseOutput,
    mismatch,
    newest,
    parse_p2y,
    parse_response,
    parse_rows,
    parse_setup,
)

FAILURES = Path(__file__).parent.parent.parent / "fixtures" / "failures"
ASKED = YamboInput(gmax_mry=2000, direction=(1.0, 0.0, 0.0), nbnd=10)


@pytest.fixture
def diamond_report() -> str:
    """The report of a response of diamond."""
    return record("C/x-2000.report")


@pytest.fixture
def diamond_spectrum() -> str:
    """Its spectrum."""
    return record("C/x-2000.spectrum")


@pytest.fixture
def good(diamond_report: str, diamond_spectrum: str) -> ResponseOutput:
    """Both, parsed."""
    return parse_response(diamond_report, diamond_spectrum)


def test_p2y() -> None:
    size = parse_p2y(record("C/l_p2y"))
    assert (size.n_kpoints, size.n_bands, size.n_electrons) == (512, 10, 8.0)
    assert (size.n_symmetries, size.time_reversal) == (24, True)
    layered = parse_p2y(record("BN/l_p2y"))
    assert (layered.n_kpoints, layered.n_symmetries, layered.time_reversal) == (144, 12, False)


@pytest.mark.parametrize("name", ["p2y_missing_wfc", "p2y_disk_full", "p2y_truncated_wfc", "p2y_no_xml"])
def test_p2y_that_did_not_finish(name: str) -> None:
    with pytest.raises(CalculationError, match="P2Y completed"):
        parse_p2y((FAILURES / name / "l_p2y").read_text(errors="replace"))


def test_setup() -> None:
    setup = parse_setup(record("C/r_setup"))
    assert setup.version == "5.2.4"
    assert not setup.is_double
    assert (setup.size.n_kpoints, setup.n_bz, setup.size.n_symmetries) == (512, 23040, 24)
    assert (setup.n_filled, setup.n_waves) == (4, 610)
    assert setup.gap_indirect_ev == pytest.approx(4.268, abs=1e-3)
    assert setup.gap_direct_ev == pytest.approx(5.664, abs=1e-3)
    assert not setup.is_metallic


def test_setup_of_version_5_3_in_double_precision() -> None:
    report = record("C/r_setup").replace("Version 5.2.4 Revision 22806", "Version 5.3.0 Revision 23927")
    setup = parse_setup(report.replace("SINGLE", "DOUBLE"))
    assert (setup.version, setup.is_double) == ("5.3.0", True)


@pytest.mark.parametrize("name", ["metal_Al_odd", "metal_Mg_even"])
def test_setup_of_a_metal(name: str) -> None:
    report = FAILURES / name / "r_setup"
    if not report.is_file():
        pytest.skip("not recorded")
    setup = parse_setup(report.read_text(errors="replace"))
    assert setup.is_metallic
    assert setup.gap_indirect_ev is None


def test_newest_report_is_read() -> None:
    names = ["r_setup", "r_setup_01", "r_setup_02", "r_setup_x", "l_setup_03"]
    assert newest(names, "r_setup") == "r_setup_02"
    assert newest(["r_setup"], "r_setup") == "r_setup"
    assert newest(["l_setup"], "r_setup") is None


def test_response(good: ResponseOutput) -> None:
    assert good.version == "5.2.4"
    assert (good.n_g, good.block_mry) == (9, 2606.0)
    assert good.has_commutator
    assert good.green_function == "time-ordered"
    assert good.energies_ev.size == 2001
    # E, Im eps, Re eps, Im eps without local fields, Re eps without.
    assert good.eps[0] == pytest.approx(5.645 + 0.125j, abs=1e-3)
    assert good.eps_ipa[0] == pytest.approx(5.755 + 0.130j, abs=1e-3)
    assert mismatch(good, ASKED) is None


def test_larger_block_repeats_the_same_ipa(good: ResponseOutput) -> None:
    larger = parse_response(record("C/x-4000.report"), record("C/x-4000.spectrum"))
    assert (larger.n_g, larger.block_mry) == (27, 6950.0)
    assert np.abs(larger.eps_ipa - good.eps_ipa).max() < 1e-3
    assert mismatch(larger, ASKED.evolve(gmax_mry=4000)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nbnd": 12}, r"BndsRnXd: yambo used \(1, 10\), asked for \(1, 12\)"),
        ({"gmax_mry": 4000}, "a block of 9 G vectors, of 2606 mRy, asked for 4000 mRy"),
        ({"gmax_mry": 0}, "a block of 9 G vectors, asked for one"),
        ({"direction": (0.0, 0.0, 1.0)}, "LongDrXd"),
        ({"damping_ev": 0.1}, "DmRngeXd"),
        ({"n_energies": 1001}, "2001 rows of 1001"),
        ({"energy_max_ev": 10.0}, "energies of the spectrum"),
        ({"green_function": "retarded"}, "Green's function: yambo used time-ordered"),
    ],
)
def test_other_output_than_asked_for(good: ResponseOutput, changes: dict[str, Any], words: str) -> None:
    found = mismatch(good, ASKED.evolve(**changes))
    assert found is not None
    assert re.search(words, found)


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("eps", lambda eps: eps * np.nan, "not finite"),
        ("eps", lambda eps: eps.conj(), "RPA: Im eps is nowhere positive"),
        ("eps_ipa", lambda eps: eps - 5.0, "IPA: Re eps.0. is 0.75"),
        ("has_commutator", lambda _: False, "nonlocal part"),
        ("n_g", lambda _: 1, "a block of 1 G vectors"),
        ("runlevels", lambda _: ("optics",), "yambo ran optics, not optics chi"),
    ],
)
def test_implausible_output(good: ResponseOutput, field: str, values: Any, words: str) -> None:
    found = mismatch(replace(good, **{field: values(getattr(good, field))}), ASKED)
    assert found is not None
    assert re.search(words, found)


def test_misspelt_keyword_shows_in_what_yambo_repeats() -> None:
    directory = FAILURES / "yambo_input_typo"
    report = (directory / "r-b_optics_chi").read_text(errors="replace")
    spectrum = next(directory.glob("o-b.eps*")).read_text(errors="replace")
    found = mismatch(parse_response(report, spectrum), ASKED.evolve(nbnd=24))
    assert found == "a block of 1 G vectors, of unknown size, asked for 2000 mRy"


def test_spectrum_that_a_full_disk_cut_off() -> None:
    spectrum = next((FAILURES / "yambo_disk_full_at_output").glob("o-*eps*"))
    # Its log has a Game Over, and the last row five numbers, one of them shortened.
    assert len(parse_rows(spectrum.read_text(errors="replace"))) == 1349
    with pytest.raises(CalculationError, match="cut off after 1348 rows"):
        parse_rows(spectrum.read_text(errors="replace")[:-8])


def test_spectrum_cut_off_between_two_rows(diamond_report: str, diamond_spectrum: str) -> None:
    rows = [line for line in diamond_spectrum.splitlines() if not line.startswith("# ")]
    output = parse_response(diamond_report, diamond_spectrum.replace("\n".join(rows[-700:]), ""))
    assert "rows of 2001" in (mismatch(output, ASKED) or "")


@pytest.mark.parametrize("missing", ["Game Over", ".-Input file"])
def test_report_that_ends_early(diamond_report: str, diamond_spectrum: str, missing: str) -> None:
    with pytest.raises(CalculationError):
        parse_response(diamond_report[: diamond_report.index(missing)], diamond_spectrum)


def test_absent_spectrum(diamond_report: str) -> None:
    with pytest.raises(CalculationError, match="0 rows"):
        parse_response(diamond_report, "")
