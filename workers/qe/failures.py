"""Failures of pw.x by the texts of an ended run; of several signatures the first names it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from workers.diagnosis import (
    Diagnosis,
    Evidence,
    RunOutcome,
    Severity,
    Signature,
    evidence_at,
    last_line,
    recognise,
)
from workers.qe.outputs import JOB_DONE, scf_accuracies_ry

SIGNATURES: Sequence[Signature] = (
    Signature(
        name="pseudopotential_missing",
        pattern=r"from readpp[\s\S]*not found|file \S+\.upf not found|inconsistent DFT",
        severity=Severity.CONFIGURATION,
    ),
    Signature(
        name="disk_full",
        pattern=r"error writing file|No space left on device|temporary directory .* cannot be created",
        severity=Severity.MACHINE,
    ),
    Signature(
        name="out_of_memory",
        pattern=r"Cannot allocate memory|Error allocating|insufficient virtual memory|Out of memory",
        severity=Severity.MACHINE,
    ),
    Signature(
        name="too_few_slots",
        pattern=(
            r"not enough slots available|Some processors have no plane waves"
            r"|some nodes have no k-points"
        ),
        severity=Severity.MACHINE,
    ),
    Signature(name="atoms_overlap", pattern=r"atoms #.*overlap", severity=Severity.STRUCTURE),
    Signature(
        name="needs_smearing",
        pattern=r"charge is wrong: smearing is needed|the system is metallic, specify occupations",
        severity=Severity.STRUCTURE,
    ),
    Signature(name="charge_wrong", pattern=r"charge is wrong"),
    Signature(
        name="bands_impossible",
        pattern=r"too few bands|wrong fixed occupations|more bands than PWs",
        severity=Severity.INPUT,
    ),
    Signature(
        name="bad_input",
        pattern=r"Error in routine\s+read_\w*(namelist|card)\w*|reading \S+ namelist|too many k-points",
        severity=Severity.INPUT,
    ),
    Signature(name="broyden", pattern=r"Error in routine\s+broyden"),
    Signature(
        name="diagonalization_failed",
        pattern=(
            r"S matrix not positive definite|problems computing cholesky|eigenvectors failed to converge"
            r"|Error in routine\s+\w*diaghg|PZHEEVD|zhegvd failed|qr\(X, 0\) failed|diagonalization failed"
        ),
    ),
    Signature(name="bands_unconverged", pattern=r"too many bands are not converged"),
    Signature(
        name="symmetry",
        pattern=(
            r"some of the original symmetry operations not satisfied|not orthogonal operation"
            r"|Not a group|lone vector"
        ),
    ),
    Signature(name="scf_unconverged", pattern=r"convergence NOT achieved after"),
    Signature(name="time_limit", pattern=r"Maximum CPU time exceeded"),
    Signature(
        name="files_corrupt", pattern=r"error reading file|fatal error reading xml file|cannot recover"
    ),
    Signature(name="other_error", pattern=r"Error in routine\s+\S+"),
)

_UNCONVERGED_BANDS = re.compile(r"c_bands:\s*\d+ eigenvalues not converged")

# The accuracy must have fallen within this many iterations, or the cycle is going nowhere.
STAGNATION_ITERATIONS = 10


def diagnose(texts: Mapping[str, str]) -> Diagnosis | None:
    """The failure that the texts of one ended run show, or None.

    texts: file name -> text; standard output is the first, CRASH and standard error follow

    None is not success: that is judged by :func:`workers.qe.outputs.mismatch`.
    """
    if found := recognise(SIGNATURES, texts):
        return found
    file, stdout = next(iter(texts.items()))
    # Eigenvalues may be loose in the middle of an scf cycle, not in its last iteration.
    last = max(stdout.rfind("iteration #"), 0)
    if match := _UNCONVERGED_BANDS.search(stdout, last):
        return Diagnosis(
            name="bands_unconverged",
            evidence=evidence_at(file, stdout, match),
            outcome=RunOutcome.UNCONVERGED,
        )
    if JOB_DONE not in stdout:
        return Diagnosis(
            name="killed",
            evidence=last_line(file, stdout, "pw.x printed nothing"),
            outcome=RunOutcome.INCOMPLETE,
        )
    return None


def diagnose_stagnation(stdout: str) -> Diagnosis | None:
    """A running scf cycle whose estimated accuracy has not improved for ten iterations."""
    accuracies = scf_accuracies_ry(stdout)
    if len(accuracies) <= STAGNATION_ITERATIONS:
        return None
    recent, before = accuracies[-STAGNATION_ITERATIONS:], accuracies[:-STAGNATION_ITERATIONS]
    if min(recent) < min(before):
        return None
    text = f"estimated scf accuracy {min(before):.1e} Ry not improved in {len(recent)} iterations"
    return Diagnosis(name="scf_stagnated", evidence=Evidence(text=text), outcome=RunOutcome.UNCONVERGED)
