"""Every recorded failure gets its outcome, and no good run is called bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.diagnose.tree import read_tree
from workers.diagnose.verdicts import Verdict, cause, judge_tree

# folder -> program, outcome, diagnosis
EXPECTED: dict[str, tuple[str, str, str | None]] = {
    "empty_input": ("pw.x", "failed", "bad_input"),
    "input_absent": ("pw.x", "failed", "bad_input"),
    "input_typo": ("pw.x", "failed", "bad_input"),
    "max_seconds_mpirun": ("pw.x", "incomplete", "time_limit"),
    "metal_Al_odd": ("pw.x", "metal", "odd_electrons"),
    "metal_Mg_even": ("pw.x", "metal", "metal"),
    "nscf_after_unconverged_scf": ("pw.x", "unconverged", "density_unconverged"),
    "nscf_bands_gt_pw": ("pw.x", "failed", "bands_impossible"),
    "nscf_cg_not_converged": ("pw.x", "unconverged", "bands_unconverged"),
    "nscf_david_few_not_converged": ("pw.x", "unconverged", "bands_unconverged"),
    "nscf_david_nbnd_near_pw": ("pw.x", "failed", "aborted"),
    "nscf_david_nbnd_near_pw2": ("pw.x", "failed", "diagonalization_failed"),
    "nscf_disk_full": ("pw.x", "failed", "disk_full"),
    "nscf_few_bands_window": ("yambo", "unconverged", "bands_short"),
    "nscf_fixed_odd_electrons": ("pw.x", "metal", "odd_electrons"),
    "nscf_no_scf": ("pw.x", "failed", "files_corrupt"),
    "nscf_paro_not_converged": ("pw.x", "failed", "crashed"),
    "nscf_sigkill": ("pw.x", "incomplete", "killed"),
    "nscf_some_not_converged": ("pw.x", "unconverged", "bands_unconverged"),
    "nscf_too_few_bands_occ": ("pw.x", "failed", "too_few_bands"),
    "nscf_too_many_bands": ("pw.x", "failed", "bands_impossible"),
    "nscf_wrong_ecut": ("pw.x", "failed", "density_of_other_cutoff"),
    "p2y_disk_full": ("p2y", "failed", "disk_full"),
    "p2y_missing_wfc": ("p2y", "failed", "save_incomplete"),
    "p2y_no_dir": ("p2y", "failed", "p2y_incomplete"),
    "p2y_no_xml": ("p2y", "failed", "p2y_incomplete"),
    "p2y_nscf_max_seconds": ("p2y", "failed", "p2y_incomplete"),
    "p2y_ok": ("p2y", "ok", None),
    "p2y_truncated_wfc": ("p2y", "failed", "save_incomplete"),
    "p2y_truncated_xml": ("p2y", "failed", "p2y_incomplete"),
    "p2y_twice": ("p2y", "ok", None),
    "pseudo_missing": ("pw.x", "failed", "pseudopotential_missing"),
    "pseudo_other_element_same_valence": ("pw.x", "failed", "pseudopotential_of_other_element"),
    "pseudo_wrong_element": ("pw.x", "failed", "bands_impossible"),
    "scf_disk_full": ("pw.x", "failed", "disk_full"),
    "scf_mpirun_too_many_slots": ("pw.x", "failed", "too_few_slots"),
    "scf_not_converged": ("pw.x", "unconverged", "scf_unconverged"),
    "scf_oom_ulimit": ("pw.x", "failed", "out_of_memory"),
    "scf_sigkill": ("pw.x", "incomplete", "killed"),
    "scf_sigkill_mpirun": ("pw.x", "incomplete", "killed"),
    "yambo_G_above_wf": ("yambo", "failed", "out_of_memory"),
    "yambo_G_too_large": ("yambo", "failed", "out_of_memory"),
    "yambo_bands_too_many": ("yambo", "failed", "bands_clipped"),
    "yambo_corrupt_gops": ("yambo", "failed", "database_cut_off"),
    "yambo_corrupt_nsdb1": ("yambo", "failed", "database_cut_off"),
    "yambo_corrupt_wf": ("yambo", "failed", "database_cut_off"),
    "yambo_disk_full_at_output": ("yambo", "incomplete", "output_cut_off"),
    "yambo_input_garbage": ("yambo", "failed", "input_not_read"),
    "yambo_input_missing": ("yambo", "failed", "input_not_read"),
    "yambo_input_typo": ("yambo", "failed", "keyword_misspelt"),
    "yambo_missing_wf": ("yambo", "failed", "database_cut_off"),
    "yambo_mpirun1_error": ("yambo", "failed", "database_cut_off"),
    "yambo_mpirun2": ("yambo", "ok", None),
    "yambo_mpirun2_kill_rank": ("yambo", "incomplete", "killed"),
    "yambo_no_SAVE": ("yambo", "failed", "save_missing"),
    "yambo_no_setup": ("yambo", "failed", "setup_missing"),
    "yambo_ok": ("yambo", "ok", None),
    "yambo_oom_ulimit": ("yambo", "failed", "out_of_memory"),
    "yambo_oom_ulimit2": ("yambo", "incomplete", "killed"),
    "yambo_q_not_there": ("yambo", "failed", "databases_inconsistent"),
    "yambo_repeat_after_db_delete": ("yambo", "ok", None),
    "yambo_restart_after_kill_in_X": ("yambo", "incomplete", "killed"),
    "yambo_sigkill_in_X": ("yambo", "incomplete", "killed"),
    "yambo_sigterm": ("yambo", "incomplete", "killed"),
    "yambo_truncated_dipoles": ("yambo", "failed", "output_missing"),
    "yambo_truncated_save": ("yambo", "failed", "database_unreadable"),
}


def judged(folder: Path) -> Verdict:
    return cause(judge_tree(read_tree(folder)))


def test_all_folders_are_listed(failures: Path) -> None:
    assert {path.name for path in failures.iterdir()} == EXPECTED.keys()


@pytest.mark.parametrize("folder", EXPECTED)
def test_recorded_run_gets_its_outcome(failures: Path, folder: str) -> None:
    verdict = judged(failures / folder)
    name = verdict.diagnosis.name if verdict.diagnosis else None
    assert (verdict.run.program, verdict.outcome.value, name) == EXPECTED[folder]


@pytest.mark.parametrize("folder", [name for name, (_, outcome, _) in EXPECTED.items() if outcome != "ok"])
def test_every_failure_says_where_and_what_to_do(failures: Path, folder: str) -> None:
    verdict = judged(failures / folder)
    assert verdict.diagnosis is not None
    evidence = verdict.diagnosis.evidence
    assert evidence.text
    assert verdict.remedies
    if evidence.line:
        lines = (failures / folder / evidence.file).read_text(errors="replace").splitlines()
        assert " ".join(lines[evidence.line - 1].split()).startswith(evidence.text)


def test_good_run_of_pw(good_nscf: Path) -> None:
    assert judged(good_nscf).outcome == "ok"


def test_what_is_kept_of_the_command_is_not_read(failures: Path, tmp_path: Path) -> None:
    """A note beside the outputs must not be taken for one of them."""
    for file in ("RPA_dir_100_sc_2000.in", "r-RPA_dir_100_sc_2000_optics_chi", "r_setup"):
        (tmp_path / file).write_text((failures / "yambo_ok" / file).read_text())
    spectrum = "o-RPA_dir_100_sc_2000.eps_q1_inv_rpa_dyson"
    (tmp_path / spectrum).write_text((failures / "yambo_ok" / spectrum).read_text())
    (tmp_path / "README").write_text("killed: Error in routine x, [ERROR] out of memory, exit code 137\n")
    assert judged(tmp_path).outcome == "ok"
