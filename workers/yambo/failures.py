"""Failures of p2y and yambo by the texts of an ended run; of several signatures the first names it.

None of them is success: that is judged by what the report and the spectrum hold. Both programs return 0
after most of these, and often say nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workers.diagnosis import Diagnosis, RunOutcome, Severity, Signature, last_line, recognise

P2Y_COMPLETED = "== P2Y completed =="
GAME_OVER = "Game Over"
METALLIC = r"\[WARNING\][^\n]*Metallic|Metallic Bands|The system is a metal but Drude term not included"
_WAVEFUNCTIONS_WRITTEN = "[100%]"
VERSION_MISMATCH = "version_mismatch"

_DISK_FULL = Signature(
    name="disk_full",
    pattern=r"No space left on device|Disk quota exceeded|\[ERROR\] ?Writing File[\s\S]*?NetCDF: HDF error",
    severity=Severity.MACHINE,
    advice="Free space there, remove what was written, and run it again",
)
_OUT_OF_MEMORY = Signature(
    name="out_of_memory",
    pattern=r"Allocation of \S+ failed|[Oo]ut of memory|Cannot allocate memory|insufficient virtual memory",
    severity=Severity.MACHINE,
    advice="Fewer ranks with more threads each, PAR_def_mode memory, or a machine with more memory;"
    " a smaller response block is another calculation",
)
_TOO_FEW_SLOTS = Signature(
    name="too_few_slots",
    pattern=r"not enough slots available",
    severity=Severity.MACHINE,
    advice="Ask mpirun for no more ranks than there are cores",
)
_KILLED = Signature(
    name="killed",
    pattern=r"(?m)^\S+: line \d+: +\d+ (?:Killed|Terminated)\b|on signal (?:9|15) \(",
    outcome=RunOutcome.INCOMPLETE,
    advice="Run it again in an empty job directory, with more time or memory if that is why it was killed",
)

P2Y_SIGNATURES: Sequence[Signature] = (
    _DISK_FULL,
    _OUT_OF_MEMORY,
    _TOO_FEW_SLOTS,
    Signature(
        name="not_symmorphic",
        pattern=r"Non-symmorphic symmetry operations are not supported",
        severity=Severity.INPUT,
        advice="Run scf and nscf with force_symmorphic = .true.",
    ),
    Signature(
        name="pseudopotential_kind",
        pattern=r"Ultrasoft PP not supported|not supported.*(?:USPP|PAW|Hubbard|hybrid)",
        severity=Severity.CONFIGURATION,
        advice="Use norm-conserving pseudopotentials and a plain functional",
    ),
    Signature(
        name=VERSION_MISMATCH,
        pattern=r"compiled without QE-HDF5 support|QE format not recognised|unknown QE data format",
        severity=Severity.CONFIGURATION,
        advice="p2y reads another format than pw.x writes: install a YAMBO built with QE-HDF5 support",
    ),
    _KILLED,
)

YAMBO_SIGNATURES: Sequence[Signature] = (
    Signature(
        name="save_missing",
        pattern=r"cannot access CORE database",
        severity=Severity.INPUT,
        advice="Run p2y in pw.x' save directory first, and yambo where SAVE is",
    ),
    _OUT_OF_MEMORY,
    _DISK_FULL,
    _TOO_FEW_SLOTS,
    Signature(
        name="too_few_bands",
        pattern=r"Not enough states to accomodate all electrons",
        severity=Severity.INPUT,
        advice="Run nscf with more bands, then p2y again",
    ),
    Signature(
        name="kgrid_unrecognised",
        pattern=r"Impossible to determine the K-grid lattice|\[RL indx\] error in mapping",
        severity=Severity.INPUT,
        advice="Write the k-points with all their digits and one shift for all of them",
    ),
    Signature(
        name="save_inconsistent",
        pattern=r"Null determinant\. Inversion failed",
        advice="Remove SAVE, run p2y again",
    ),
    Signature(
        name="parallel_structure",
        pattern=(
            r"USER parallel structure does not fit|Impossible to define an appropriate parallel structure"
            r"|Incomplete Parallel Index Filling|NULL parallel world"
        ),
        severity=Severity.INPUT,
        advice="Leave out all *_CPU and *_ROLEs, then fewer ranks",
    ),
    Signature(
        name="databases_inconsistent",
        pattern=(
            r"\[ERROR\][^\n]*(?:Header not correct|NetCDF: |Missing all or part of|not compatible in"
            r"|DIPOLES I/O error)"
        ),
        advice="Remove the job directory, and SAVE's ndb.* if that is not enough, and run it again",
    ),
    Signature(
        name="database_unreadable",
        pattern=r"\[ERROR\] ?STOP signal received while in ?\[\d+\] Dipoles",
        advice="A wavefunction fragment in SAVE is missing or cut off: run p2y again",
    ),
    Signature(
        name="stopped",
        pattern=r"\[ERROR\][^\n]*",
        advice="Remove the job directory and run it again; then rebuild SAVE",
    ),
    _KILLED,
)

_METALLIC = Signature(
    name="metal",
    pattern=METALLIC,
    severity=Severity.STRUCTURE,
    outcome=RunOutcome.METAL,
    advice="No spectrum without intraband transitions; check the gap on a denser k-grid if one is expected",
)


def diagnose_p2y(texts: Mapping[str, str]) -> Diagnosis | None:
    """The failure that the log and the standard error of one ended p2y run show, or None.

    texts: file name -> text; the log (``l_p2y``) is the first, and may be empty
    """
    if found := recognise(P2Y_SIGNATURES, texts):
        return found
    file, log = next(iter(texts.items()))
    if P2Y_COMPLETED in log:
        return None
    if _WAVEFUNCTIONS_WRITTEN in log:
        return Diagnosis(
            name="pseudopotential_missing",
            evidence=last_line(file, log, ""),
            severity=Severity.CONFIGURATION,
            advice="p2y stopped before the pseudopotentials: put the UPF files into the save directory,"
            " run it again; what yambo computes from this SAVE lacks [r, V_nl]",
        )
    return Diagnosis(
        name="p2y_incomplete",
        evidence=last_line(file, log, "p2y wrote no log"),
        advice="p2y says nothing when a file of the save is missing or cut off: run nscf again, then p2y",
    )


def diagnose_yambo(texts: Mapping[str, str]) -> Diagnosis | None:
    """The failure (or the metal) that the texts of one ended yambo run show, or None.

    texts: file name -> text; the report (``r-*`` or ``r_setup``) is the first, logs and standard error
    follow; any may be empty
    """
    if found := recognise(YAMBO_SIGNATURES, texts):
        return found
    file, report = next(iter(texts.items()))
    if GAME_OVER not in report:
        return Diagnosis(
            name="killed",
            evidence=last_line(file, report, "yambo wrote no report"),
            outcome=RunOutcome.INCOMPLETE,
            advice="Run it again in an empty job directory",
        )
    return recognise((_METALLIC,), texts)
