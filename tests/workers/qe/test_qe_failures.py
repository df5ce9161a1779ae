"""Recorded failures -> diagnosis -> remedies, in order and bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.diagnosis import Diagnosis, Evidence, Severity, next_remedy
from workers.qe.failures import diagnose, diagnose_stagnation
from workers.qe.inputs import PwInput
from workers.qe.remedies import REMEDIES

Texts = Callable[[str], dict[str, str]]


@pytest.mark.parametrize(
    ("folder", "name", "severity"),
    [
        ("scf_not_converged", "scf_unconverged", Severity.NUMERICAL),
        ("scf_sigkill", "killed", Severity.NUMERICAL),
        ("scf_oom_ulimit", "out_of_memory", Severity.MACHINE),
        ("scf_disk_full", "disk_full", Severity.MACHINE),
        ("nscf_disk_full", "disk_full", Severity.MACHINE),
        ("scf_mpirun_too_many_slots", "too_few_slots", Severity.MACHINE),
        ("nscf_some_not_converged", "bands_unconverged", Severity.NUMERICAL),
        ("nscf_david_few_not_converged", "bands_unconverged", Severity.NUMERICAL),
        ("nscf_cg_not_converged", "bands_unconverged", Severity.NUMERICAL),
        ("nscf_paro_not_converged", "crashed", Severity.NUMERICAL),
        ("nscf_david_nbnd_near_pw", "aborted", Severity.NUMERICAL),
        ("nscf_no_scf", "files_corrupt", Severity.NUMERICAL),
        ("nscf_too_many_bands", "bands_impossible", Severity.INPUT),
        ("pseudo_wrong_element", "bands_impossible", Severity.INPUT),
        ("input_typo", "bad_input", Severity.INPUT),
        ("pseudo_missing", "pseudopotential_missing", Severity.CONFIGURATION),
        ("max_seconds_mpirun", "time_limit", Severity.NUMERICAL),
    ],
)
def test_recorded_failure_is_named(qe_texts: Texts, folder: str, name: str, severity: Severity) -> None:
    diagnosis = diagnose(qe_texts(folder))
    assert diagnosis is not None
    assert (diagnosis.name, diagnosis.severity) == (name, severity)
    assert diagnosis.evidence.text


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("S matrix not positive definite", "diagonalization_failed"),
        ("problems computing cholesky", "diagonalization_failed"),
        ("charge is wrong: smearing is needed", "needs_smearing"),
        ("charge is wrong", "charge_wrong"),
        ("some of the original symmetry operations not satisfied", "symmetry"),
        ("atoms #  1 and #  2 overlap!", "atoms_overlap"),
        ("Error in routine broyden (1):", "broyden"),
        ("No space left on device", "disk_full"),
        ("Error in routine something_new (1):", "other_error"),
    ],
)
def test_lines_of_the_sources(line: str, name: str) -> None:
    diagnosis = diagnose({"pw.out": f"     iteration #  1\n     {line}\n\n     stopping ..."})
    assert diagnosis is not None
    assert diagnosis.name == name
    assert diagnosis.evidence == Evidence(file="pw.out", line=2, text=" ".join(line.split()))


def test_good_run_has_no_diagnosis(good_nscf: Path) -> None:
    assert diagnose({"pw.out": (good_nscf / "pw.out").read_text()}) is None


def test_loose_eigenvalues_of_a_converged_cycle_are_ignored() -> None:
    loose = "iteration #  1\n c_bands:  2 eigenvalues not converged\n"
    assert diagnose({"pw.out": loose + "convergence has been achieved in 1 iterations\nJOB DONE."}) is None
    found = diagnose({"pw.out": loose + "JOB DONE."})
    assert found is not None
    assert found.name == "bands_unconverged"


def test_stagnation_needs_ten_iterations_without_gain() -> None:
    def cycle(values: list[float]) -> str:
        return "".join(f"     estimated scf accuracy    <  {v:.8f} Ry\n" for v in values)

    falling = [2.0 / (i + 1) for i in range(30)]
    assert diagnose_stagnation(cycle(falling)) is None
    assert diagnose_stagnation(cycle([1.0, 0.1, *[0.2] * 9])) is None
    found = diagnose_stagnation(cycle([1.0, 0.1, *[0.2] * 10]))
    assert found is not None
    assert found.name == "scf_stagnated"


def _walk(name: str, pw_input: PwInput) -> list[tuple[str, PwInput]]:
    diagnosis = Diagnosis(name=name, evidence=Evidence(text=""))
    used: list[str] = []
    steps = []
    while (found := next_remedy(REMEDIES, diagnosis, used, pw_input)) is not None:
        remedy, pw_input = found
        used.append(remedy.name)
        steps.append((remedy.name, pw_input))
        assert len(steps) < 10
    return steps


def test_scf_ladder_slows_mixing_then_changes_its_kind(pw_input: PwInput) -> None:
    steps = [changed for _, changed in _walk("scf_unconverged", pw_input)]
    assert [s.mixing_beta for s in steps] == [0.4, 0.2, 0.2, 0.2]
    assert [s.mixing_mode for s in steps] == ["plain", "plain", "local-TF", "local-TF"]
    assert steps[-1].mixing_ndim == 12
    assert all(s.startingpot == "file" for s in steps)


def test_diagonalisation_ladder(pw_input: PwInput) -> None:
    steps = [changed.diagonalization for _, changed in _walk("bands_unconverged", pw_input)]
    assert steps == ["paro", "cg"]


def test_killed_is_repeated_and_then_made_smaller(pw_input: PwInput) -> None:
    steps = [changed for _, changed in _walk("killed", pw_input)]
    assert steps[0] == pw_input
    assert [step.diago_david_ndim for step in steps[1:]] == [2, 2, 2]


@pytest.mark.parametrize("name", ["crashed", "aborted"])
def test_crashed_is_repeated_but_never_with_paro(name: str, pw_input: PwInput) -> None:
    assert [step.diagonalization for _, step in _walk(name, pw_input)] == ["david", "cg"]
    paro = pw_input.evolve(diagonalization="paro")
    assert [step.diagonalization for _, step in _walk(name, paro)] == ["cg", "cg"]


@pytest.mark.parametrize("name", sorted(REMEDIES))
def test_every_ladder_ends_and_says_what_it_changes(name: str, pw_input: PwInput) -> None:
    steps = _walk(name, pw_input)
    assert len(steps) <= sum(remedy.limit for remedy in REMEDIES[name])
    assert not any(remedy.changes_physics for remedy in REMEDIES[name])


@pytest.mark.parametrize("name", ["disk_full", "pseudopotential_missing", "bad_input", "atoms_overlap"])
def test_what_no_input_can_mend_has_no_remedy(name: str, pw_input: PwInput) -> None:
    assert _walk(name, pw_input) == []
