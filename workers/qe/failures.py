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
from workers.qe.outputs import JOB_DONE, SCF_CONVERGED, scf_accuracies_ry

# After the name of the routine: its number, and on the next line what it has to say.
_MESSAGE = r" \(\d+\):(?:\n +[^\s%].*)?"

_AGAIN_CLEAN = "Run it again from an empty outdir"

SIGNATURES: Sequence[Signature] = (
    Signature(
        name="pseudopotential_missing",
        # A band run says the same of a copy in the save directory, and goes on: no error.
        pattern=r"Error in routine readpp[\s\S]*not found|inconsistent DFT",
        severity=Severity.CONFIGURATION,
        advice="Put the UPF file where pseudo_dir says, under the name in ATOMIC_SPECIES",
    ),
    Signature(
        name="disk_full",
        pattern=(
            r"error writing file|No space left on device|Disk quota exceeded"
            r"|temporary directory .* cannot be created"
        ),
        severity=Severity.MACHINE,
        advice="Free space where outdir is, or set another outdir that can be written to",
    ),
    Signature(
        name="out_of_memory",
        pattern=(
            r"Cannot allocate memory|Error allocating|insufficient virtual memory|[Oo]ut of memory"
            r"|oom-kill|OOM Killed"
        ),
        severity=Severity.MACHINE,
        advice="Fewer k-point pools or ranks on the machine, diago_david_ndim = 2, or more memory",
    ),
    Signature(
        name="too_few_slots",
        pattern=(
            r"not enough slots available|Some processors have no plane waves"
            r"|some nodes have no k-points"
        ),
        severity=Severity.MACHINE,
        advice="Ask mpirun for fewer ranks, and pw.x for fewer pools (-nk)",
    ),
    Signature(
        name="atoms_overlap",
        pattern=r"atoms #.*overlap",
        severity=Severity.STRUCTURE,
        advice="Two atoms sit on one another: mend the structure",
    ),
    Signature(
        name="needs_smearing",
        pattern=r"charge is wrong: smearing is needed|the system is metallic, specify occupations",
        severity=Severity.STRUCTURE,
        outcome=RunOutcome.METAL,
        advice="Not an insulator with fixed occupations: a metal, or an odd number of electrons",
    ),
    Signature(name="charge_wrong", pattern=r"charge is wrong"),
    Signature(
        name="bands_impossible",
        pattern=r"too few bands|wrong fixed occupations|more bands than PWs",
        severity=Severity.INPUT,
        advice="nbnd must be at least half the electrons, and far below the number of plane waves;"
        " check that the pseudopotential is the element's",
    ),
    Signature(
        name="bad_input",
        pattern=(
            rf"Error in routine\s+read_\w*(namelist|card|input)\w*{_MESSAGE}"
            r"|reading \S+ namelist|too many k-points|fatal error opening|could not find namelist"
        ),
        severity=Severity.INPUT,
        advice="Mend the input file: the line names the namelist or card that could not be read",
    ),
    Signature(name="broyden", pattern=r"Error in routine\s+broyden"),
    Signature(
        name="diagonalization_failed",
        pattern=(
            r"S matrix not positive definite|problems computing cholesky|eigenvectors failed to converge"
            r"|Error in routine\s+\w*diaghg|PZHEEVD|zhegvd failed|qr\(X, 0\) failed|diagonalization failed"
        ),
        advice="Another diagonalisation, fewer bands, or one rank for it (-ndiag 1)",
    ),
    Signature(
        name="bands_unconverged",
        pattern=r"too many bands are not converged",
        outcome=RunOutcome.UNCONVERGED,
    ),
    Signature(
        name="symmetry",
        pattern=(
            r"some of the original symmetry operations not satisfied|not orthogonal operation"
            r"|Not a group|lone vector"
        ),
        advice="Write cell and positions with 12 digits and ibrav = 0, or refine the structure",
    ),
    Signature(
        name="scf_unconverged",
        pattern=r"convergence NOT achieved after",
        outcome=RunOutcome.UNCONVERGED,
    ),
    Signature(
        name="time_limit",
        pattern=r"Maximum CPU time exceeded|DUE TO TIME LIMIT",
        outcome=RunOutcome.INCOMPLETE,
        advice="Give it more time (max_seconds) and go on with restart_mode = 'restart'",
    ),
    Signature(
        name="files_corrupt",
        pattern=(
            r"error reading file|fatal error reading xml file|cannot recover|Error in routine\s+potinit"
        ),
        advice="What an earlier run left in outdir is missing or cut off: run scf again, then this",
    ),
    Signature(
        name="stopped_on_request",
        pattern=r"Program stopped by user request",
        outcome=RunOutcome.INCOMPLETE,
        advice="Somebody made prefix.EXIT: remove it, go on with restart_mode = 'restart'",
    ),
    Signature(name="other_error", pattern=rf"Error in routine\s+\S+{_MESSAGE}", advice=_AGAIN_CLEAN),
    Signature(
        name="killed",
        pattern=r"on signal (?:9|15) \(|(?m:^\S+: line \d+: +\d+ (?:Killed|Terminated)\b)",
        outcome=RunOutcome.INCOMPLETE,
        advice="Find out who killed it (memory? time?), then run it again from an empty outdir",
    ),
    Signature(
        name="crashed",
        pattern=(
            r"SIGSEGV|SIGABRT|SIGBUS|SIGFPE|Segmentation fault|double free|corrupted size"
            r"|malloc\(\): |(?m:^\S+: line \d+: +\d+ Aborted\b)|on signal \d+ \("
        ),
        advice="Another diagonalisation or fewer ranks; then another build of pw.x",
    ),
    Signature(name="aborted", pattern=r"MPI_ABORT was invoked", advice=_AGAIN_CLEAN),
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
    # Loose eigenvalues of an scf cycle do no harm: its density has been found self-consistent all the same.
    match = _UNCONVERGED_BANDS.search(stdout)
    if match and SCF_CONVERGED not in stdout:
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
