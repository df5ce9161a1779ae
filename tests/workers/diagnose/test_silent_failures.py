"""Good runs made wrong in ways that neither code mentions."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.diagnose.listing import is_listing, listed_sizes, make_listing
from workers.diagnose.tree import read_tree
from workers.diagnose.verdicts import Verdict, cause, judge_tree

SPECTRUM = "o-RPA_dir_100_sc_2000.eps_q1_inv_rpa_dyson"
REPORT = "r-RPA_dir_100_sc_2000_optics_chi"


def judged(folder: Path) -> Verdict:
    return cause(judge_tree(read_tree(folder)))


@pytest.fixture
def yambo(failures: Path, tmp_path: Path) -> Path:
    """A good yambo run to spoil."""
    return Path(shutil.copytree(failures / "yambo_ok", tmp_path / "yambo"))


@pytest.fixture
def pw(good_nscf: Path, tmp_path: Path) -> Path:
    """A good band run to spoil."""
    return Path(shutil.copytree(good_nscf, tmp_path / "pw"))


def spoil(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before
    path.write_text(after)


def name_of(verdict: Verdict) -> tuple[str, str]:
    assert verdict.diagnosis is not None
    return verdict.outcome.value, verdict.diagnosis.name


def test_spectrum_cut_off_in_spite_of_game_over(yambo: Path) -> None:
    spoil(yambo / SPECTRUM, lambda text: "\n".join(text.splitlines()[:1400]))
    verdict = judged(yambo)
    assert name_of(verdict) == ("incomplete", "output_cut_off")
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.evidence.text == "1374 of 2001 rows"


def test_commutator_missing(yambo: Path) -> None:
    spoil(yambo / REPORT, lambda text: re.sub(r"(\[r,Vnl\] included +:) yes", r"\1 no", text))
    assert name_of(judged(yambo)) == ("failed", "nonlocal_commutator_missing")


def test_not_a_number_in_the_spectrum(yambo: Path) -> None:
    spoil(yambo / SPECTRUM, lambda text: text.replace("3.418224", "NaN"))
    assert name_of(judged(yambo)) == ("incomplete", "output_cut_off")


def test_zeroed_wavefunctions(yambo: Path) -> None:
    def zero(text: str) -> str:
        rows = [
            line if line.startswith("#") else f"{line.split()[0]} 0.0 1.0 0.0 1.0"
            for line in text.splitlines()
        ]
        return "\n".join(rows)

    spoil(yambo / SPECTRUM, zero)
    assert name_of(judged(yambo)) == ("failed", "spectrum_unphysical")


def test_block_size_that_was_not_used(yambo: Path) -> None:
    spoil(yambo / REPORT, lambda text: re.sub(r"NGsBlkXd= 2998 +mRy", "NGsBlkXd= 1 RL", text))
    assert name_of(judged(yambo)) == ("failed", "block_size_not_used")


def test_no_spectrum_at_all(yambo: Path) -> None:
    (yambo / SPECTRUM).unlink()
    assert name_of(judged(yambo)) == ("failed", "output_missing")


def test_overlapping_atoms(pw: Path) -> None:
    spoil(
        pw / "pw.out",
        lambda text: re.sub(
            r"(F +tau\( +2\) = \().*\)", r"\1   0.0100000   0.0000000   0.0000000  )", text
        ),
    )
    verdict = judged(pw)
    assert name_of(verdict) == ("failed", "atoms_overlap")
    assert "Li 1 and F 2" in verdict.remedies[0]


def test_overlap_comes_before_the_metal_that_follows_from_it(pw: Path) -> None:
    def overlap(text: str) -> str:
        text = re.sub(r"(F +tau\( +2\) = \().*\)", r"\1   0.0050000   0.0000000   0.0000000  )", text)
        return re.sub(r"\n    (-?\d+\.\d+)", r"\n    50.0000", text)

    spoil(pw / "pw.out", overlap)
    assert name_of(judged(pw)) == ("failed", "atoms_overlap")


def test_p2y_without_pseudopotentials(failures: Path, tmp_path: Path) -> None:
    log = (failures / "p2y_ok" / "l_p2y").read_text()
    (tmp_path / "l_p2y").write_text(log[: log.index(" <---> == DB3")])
    assert name_of(judged(tmp_path)) == ("failed", "pseudopotential_missing")


def test_pseudopotential_of_another_element(pw: Path) -> None:
    spoil(pw / "pw.out", lambda text: re.sub(r"(F +7\.00 +18\.99\d+ +)F \(", r"\1Cl(", text))
    verdict = judged(pw)
    assert name_of(verdict) == ("failed", "pseudopotential_of_other_element")
    assert "species F has the pseudopotential of Cl" in verdict.remedies[0]


@pytest.mark.parametrize("label", ["F1", "F_a", "f"])
def test_labels_of_species_may_carry_more(pw: Path, label: str) -> None:
    spoil(pw / "pw.out", lambda text: re.sub(r"\bF( +7\.00 +18\.99\d+ +F \()", rf"{label}\1", text))
    assert judged(pw).outcome == "ok"


def test_cutoff_of_the_scf_run_beside_it(pw: Path) -> None:
    scf = (pw / "pw.out").read_text().replace("Band Structure Calculation", "Self-consistent Calculation")
    scf = scf.replace("End of band structure", "convergence has been achieved; End of self-consistent")
    (pw / "scf.out").write_text(scf)
    assert judged(pw).outcome == "ok"
    (pw / "scf.out").write_text(scf.replace("60.0000  Ry", "50.0000  Ry"))
    assert name_of(judged(pw)) == ("failed", "density_of_other_cutoff")


def test_hdf5_file_that_was_cut_off(yambo: Path) -> None:
    import h5py
    import numpy as np

    (yambo / "SAVE").mkdir()
    database = yambo / "SAVE" / "ns.db1"
    with h5py.File(database, "w") as file:
        file["G-VECTORS"] = np.arange(30_000)
    (yambo / REPORT).write_text(
        "yambo\n [04] Dipoles\n [ERROR] STOP signal received while in[04] Dipoles\n"
    )
    assert name_of(judged(yambo)) == ("failed", "database_unreadable")
    with database.open("r+b") as raw:
        raw.truncate(100_000)
    verdict = judged(yambo)
    assert name_of(verdict) == ("failed", "database_cut_off")
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.evidence.file == "SAVE/ns.db1"


def test_later_attempt_of_ours_counts(pw: Path, failures: Path) -> None:
    (pw / "pw.out").rename(pw / "pw-2.out")
    (pw / "pw-1.out").write_text((failures / "scf_not_converged" / "scf.out").read_text())
    verdicts = judge_tree(read_tree(pw))
    assert [verdict.run.main for verdict in verdicts] == ["pw-2.out"]
    assert cause(verdicts).outcome == "ok"


def test_input_alone_is_a_run_only_where_there_is_nothing_else(pw: Path, failures: Path) -> None:
    deck = (failures / "scf_not_converged" / "scf.in").read_text()
    (pw / "elsewhere").mkdir()
    (pw / "elsewhere" / "scf.in").write_text(deck)
    assert [verdict.run.main for verdict in judge_tree(read_tree(pw))] == ["pw.out"]
    assert name_of(judged(pw / "elsewhere")) == ("incomplete", "not_run")


def test_runs_follow_one_another_wherever_their_files_are(yambo: Path, failures: Path) -> None:
    save = yambo / "out" / "Si.save"
    save.mkdir(parents=True)
    (save / "l_p2y").write_text((failures / "p2y_ok" / "l_p2y").read_text())
    programs = [verdict.run.program for verdict in judge_tree(read_tree(yambo))]
    assert programs == ["p2y", "yambo", "yambo"]


def test_listing_is_read_back() -> None:
    sizes = {"pw-1.out": 1200, "out/pwscf.save/wfc1.dat": 99, "out/pwscf.save/charge-density.dat": 5}
    text = make_listing(sizes)
    assert is_listing(text)
    assert listed_sizes(text) == sizes
    assert not is_listing("total 4\n")
