"""Failures of pw.x: text -> Diagnosis -> ordered, bounded Remedies.

The order of the signatures matters: the first that matches names the failure. Every remedy says
whether it changes physics (the spectrum is then tagged and not trained on) or only numerics.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from workers.qe.inputs import PwInput
from workers.qe.outputs import JOB_DONE, scf_accuracies_ry


class Severity(StrEnum):
    """Whose fault it is, which decides what happens when the remedies are used up."""

    NUMERICAL = "numerical"  # the job failed
    STRUCTURE = "structure"  # the crystal cannot be treated
    INPUT = "input"  # our input is wrong
    MACHINE = "machine"  # the job is given back uncounted
    CONFIGURATION = "configuration"  # something must be installed


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What went wrong, and the line that says so."""

    name: str
    evidence: str
    severity: Severity


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change of an input.

    change:  PwInput -> PwInput, or None where it does not apply
    clean:   start again from an empty output directory
    limit:   times it may be used in one step
    """

    name: str
    change: Callable[[PwInput], PwInput | None]
    changes_physics: bool = False
    clean: bool = True
    limit: int = 1


@dataclass(frozen=True, kw_only=True)
class _Signature:
    name: str
    pattern: str
    severity: Severity = Severity.NUMERICAL


_SIGNATURES: Sequence[_Signature] = (
    _Signature(
        name="pseudopotential_missing",
        pattern=r"from readpp[\s\S]*not found|file \S+\.upf not found|inconsistent DFT",
        severity=Severity.CONFIGURATION,
    ),
    _Signature(
        name="disk_full",
        pattern=r"error writing file|No space left on device|temporary directory .* cannot be created",
        severity=Severity.MACHINE,
    ),
    _Signature(
        name="out_of_memory",
        pattern=r"Cannot allocate memory|Error allocating|insufficient virtual memory|Out of memory",
        severity=Severity.MACHINE,
    ),
    _Signature(
        name="too_few_slots",
        pattern=(
            r"not enough slots available|Some processors have no plane waves"
            r"|some nodes have no k-points"
        ),
        severity=Severity.MACHINE,
    ),
    _Signature(name="atoms_overlap", pattern=r"atoms #.*overlap", severity=Severity.STRUCTURE),
    _Signature(
        name="needs_smearing",
        pattern=r"charge is wrong: smearing is needed|the system is metallic, specify occupations",
        severity=Severity.STRUCTURE,
    ),
    _Signature(name="charge_wrong", pattern=r"charge is wrong"),
    _Signature(
        name="bands_impossible",
        pattern=r"too few bands|wrong fixed occupations|more bands than PWs",
        severity=Severity.INPUT,
    ),
    _Signature(
        name="bad_input",
        pattern=r"Error in routine\s+read_\w*(namelist|card)\w*|reading \S+ namelist|too many k-points",
        severity=Severity.INPUT,
    ),
    _Signature(name="broyden", pattern=r"Error in routine\s+broyden"),
    _Signature(
        name="diagonalization_failed",
        pattern=(
            r"S matrix not positive definite|problems computing cholesky|eigenvectors failed to converge"
            r"|Error in routine\s+\w*diaghg|PZHEEVD|zhegvd failed|qr\(X, 0\) failed|diagonalization failed"
        ),
    ),
    _Signature(name="bands_unconverged", pattern=r"too many bands are not converged"),
    _Signature(
        name="symmetry",
        pattern=(
            r"some of the original symmetry operations not satisfied|not orthogonal operation"
            r"|Not a group|lone vector"
        ),
    ),
    _Signature(name="scf_unconverged", pattern=r"convergence NOT achieved after"),
    _Signature(name="time_limit", pattern=r"Maximum CPU time exceeded"),
    _Signature(
        name="files_corrupt", pattern=r"error reading file|fatal error reading xml file|cannot recover"
    ),
    _Signature(name="other_error", pattern=r"Error in routine\s+\S+"),
)

_UNCONVERGED_BANDS = re.compile(r"c_bands:\s*\d+ eigenvalues not converged")

# The accuracy must have fallen within this many iterations, or the cycle is going nowhere.
STAGNATION_ITERATIONS = 10


def diagnose(stdout: str, *, crash: str = "", stderr: str = "") -> Diagnosis | None:
    """The failure that the texts of one ended run show, or None.

    None is not success: that is judged by :func:`workers.qe.outputs.mismatch`.
    """
    for signature in _SIGNATURES:
        for text in (crash, stdout, stderr):
            if match := re.search(signature.pattern, text):
                return Diagnosis(
                    name=signature.name, evidence=_line_at(text, match), severity=signature.severity
                )
    if match := _UNCONVERGED_BANDS.search(_last_diagonalization(stdout)):
        return Diagnosis(name="bands_unconverged", evidence=match.group(), severity=Severity.NUMERICAL)
    if JOB_DONE not in stdout:
        lines = [line.strip() for line in stdout.splitlines() if line.strip()]
        evidence = f"no JOB DONE; last line: {lines[-1]}" if lines else "pw.x printed nothing"
        return Diagnosis(name="killed", evidence=evidence, severity=Severity.NUMERICAL)
    return None


def diagnose_stagnation(stdout: str) -> Diagnosis | None:
    """A running scf cycle whose estimated accuracy has not improved for ten iterations."""
    accuracies = scf_accuracies_ry(stdout)
    if len(accuracies) <= STAGNATION_ITERATIONS:
        return None
    recent, before = accuracies[-STAGNATION_ITERATIONS:], accuracies[:-STAGNATION_ITERATIONS]
    if min(recent) < min(before):
        return None
    return Diagnosis(
        name="scf_stagnated",
        evidence=f"estimated scf accuracy {min(before):.1e} Ry not improved in {len(recent)} iterations",
        severity=Severity.NUMERICAL,
    )


def next_remedy(
    diagnosis: Diagnosis, used: Sequence[str], pw_input: PwInput
) -> tuple[Remedy, PwInput] | None:
    """The first remedy not used up that applies, with the changed input; None: give up.

    used: names of the remedies already applied in this step, in any order
    """
    for remedy in REMEDIES.get(diagnosis.name, ()):
        if used.count(remedy.name) >= remedy.limit:
            continue
        changed = remedy.change(pw_input)
        if changed is not None:
            return remedy, changed
    return None


def _last_diagonalization(stdout: str) -> str:
    # Eigenvalues may be loose in the middle of an scf cycle, not in its last iteration.
    return stdout[max(stdout.rfind("iteration #"), 0) :]


def _line_at(text: str, match: re.Match[str]) -> str:
    end = text.find("\n", match.end())
    start = text.rfind("\n", 0, match.end()) + 1
    return " ".join(text[start : end if end >= 0 else len(text)].split())


def _slower_mixing(pw_input: PwInput) -> PwInput | None:
    for beta in (0.4, 0.2):
        if pw_input.mixing_beta > beta:
            return pw_input.evolve(mixing_beta=beta, startingpot="file")
    return None


def _local_mixing(pw_input: PwInput) -> PwInput | None:
    if pw_input.mixing_mode == "local-TF":
        return None
    return pw_input.evolve(mixing_mode="local-TF", startingpot="file")


def _longer_mixing(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(mixing_ndim=12, startingpot="file")


def _shorter_mixing(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(mixing_ndim=4, mixing_beta=0.3)


def _parallel_orbitals(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(diagonalization="paro") if pw_input.diagonalization == "david" else None


def _conjugate_gradients(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(diagonalization="cg") if pw_input.diagonalization != "cg" else None


def _leave_paro(pw_input: PwInput) -> PwInput | None:
    # paro has crashed with a corrupted heap: the same again would not help.
    return pw_input.evolve(diagonalization="cg") if pw_input.diagonalization == "paro" else None


def _small_subspace(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(diago_david_ndim=2, mixing_ndim=4)


def _no_symmetry(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(use_symmetry=False) if pw_input.use_symmetry else None


def _no_time_limit(pw_input: PwInput) -> PwInput | None:
    if pw_input.max_seconds is None:
        return None
    start = "file" if pw_input.calculation == "scf" else pw_input.startingpot
    return pw_input.evolve(max_seconds=None, startingpot=start)


def _identical(pw_input: PwInput) -> PwInput:
    return pw_input


_SLOWER = Remedy(name="slower mixing from the last density", change=_slower_mixing, clean=False, limit=2)
_LOCAL_TF = Remedy(name="local Thomas-Fermi mixing", change=_local_mixing, clean=False)
_LONGER = Remedy(name="longer mixing history", change=_longer_mixing, clean=False)
_PARO = Remedy(name="parallel-orbital diagonalisation", change=_parallel_orbitals)
_CG = Remedy(name="conjugate-gradient diagonalisation", change=_conjugate_gradients)
_AGAIN = Remedy(name="the same again from a clean directory", change=_identical)

REMEDIES: Mapping[str, tuple[Remedy, ...]] = {
    "scf_unconverged": (_SLOWER, _LOCAL_TF, _LONGER),
    "scf_stagnated": (_SLOWER,),
    "bands_unconverged": (_PARO, _CG),
    "diagonalization_failed": (_PARO, _CG, Remedy(name="smaller subspace", change=_small_subspace)),
    "broyden": (Remedy(name="shorter, slower mixing", change=_shorter_mixing),),
    "charge_wrong": (_CG,),
    "symmetry": (Remedy(name="no symmetry", change=_no_symmetry),),
    "time_limit": (Remedy(name="no time limit", change=_no_time_limit, clean=False),),
    "out_of_memory": (Remedy(name="smaller subspace", change=_small_subspace),),
    "files_corrupt": (_AGAIN,),
    "killed": (Remedy(name="leave the crashed diagonalisation", change=_leave_paro), _AGAIN),
    "other_error": (_AGAIN,),
    "incomplete_output": (_AGAIN,),
}
