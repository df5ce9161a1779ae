"""What a pw.x run of any origin is worth, from what its directory still holds; pure.

Each check has caught a run that ended with exit code 0 and JOB DONE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from farm.crystal import SHORTEST_DISTANCE_ANGSTROM
from farm.pseudopotentials import table
from farm.units import BOHR_ANGSTROM
from workers.diagnosis import Diagnosis, Evidence, RunOutcome, Severity, evidence_at, find_evidence
from workers.qe.failures import diagnose
from workers.qe.outputs import SCF_CONVERGED
from workers.qe.printout import Printout, closest_sites, read_printout

# Nuclei that are closer than half a bond overlap; further apart than this no two do.
_SHARE_OF_BOND = 0.5
_CERTAIN_DISTANCE_ANGSTROM = 1.5

# charge-density.dat: per G vector three integers and a complex number, and what surrounds the records.
_BYTES_PER_G = 28
_HEAD_BYTES = 116


@dataclass(frozen=True, kw_only=True)
class PwRun:
    """One ended run.

    texts:         standard output first, then CRASH and standard error; by name
    density_bytes: size of ``charge-density.dat`` in its save directory; None: unknown
    scf:           the printout of the scf run a band run starts from, where that is known
    """

    texts: Mapping[str, str]
    density_bytes: int | None = None
    scf: Printout | None = None


def judge_run(run: PwRun) -> Diagnosis | None:
    """What is wrong with a run; None: nothing that can be seen."""
    file, stdout = next(iter(run.texts.items()))
    if found := diagnose(run.texts):
        return found
    printout = read_printout(stdout)
    return (
        _unconverged(file, stdout, printout)
        or _odd_electrons(file, stdout, printout)
        or _wrong_pseudopotential(file, stdout, printout)
        or _overlap(file, stdout, printout)
        or _metal(file, printout)
        or _too_few_bands(file, stdout, printout)
        or _other_density(file, stdout, printout, run)
    )


def _unconverged(file: str, stdout: str, printout: Printout) -> Diagnosis | None:
    if not printout.is_band_run:
        if "Self-consistent Calculation" not in stdout or SCF_CONVERGED in stdout:
            return None
        text = "JOB DONE, but convergence has not been achieved"
        return Diagnosis(
            name="scf_unconverged",
            evidence=Evidence(file=file, text=text),
            outcome=RunOutcome.UNCONVERGED,
        )
    # pw.x copies the UPF files into the save directory only when scf has converged.
    if match := re.search(r"Message from routine readpp:\s*\n\s*file \S+\.save/\S+ not found", stdout):
        return Diagnosis(
            name="density_unconverged",
            evidence=evidence_at(file, stdout, match),
            severity=Severity.INPUT,
            outcome=RunOutcome.UNCONVERGED,
            advice="The scf run before has not converged: converge it first, then run this again",
        )
    return None


def _odd_electrons(file: str, stdout: str, printout: Printout) -> Diagnosis | None:
    n_electrons = printout.n_electrons
    if n_electrons is None or printout.is_spin_polarised or not round(n_electrons) % 2:
        return None
    text = f"{n_electrons:g} electrons, an odd number"
    return _is_metal("odd_electrons", find_evidence(file, stdout, r"number of electrons\s*=", text))


def _metal(file: str, printout: Printout) -> Diagnosis | None:
    if printout.n_electrons is None or printout.is_spin_polarised:
        return None
    energies, n_filled = printout.eigenvalues_ev, round(printout.n_electrons) // 2
    if energies.shape[1] <= n_filled:
        return None
    gap_ev = float(energies[:, n_filled].min() - energies[:, n_filled - 1].max())
    if gap_ev > 0:
        return None
    text = f"bands {n_filled} and {n_filled + 1} overlap by {-gap_ev:.3f} eV"
    return _is_metal("metal", Evidence(file=file, text=text))


def _is_metal(name: str, evidence: Evidence) -> Diagnosis:
    return Diagnosis(
        name=name,
        evidence=evidence,
        severity=Severity.STRUCTURE,
        outcome=RunOutcome.METAL,
        advice="Fixed occupations, and spectra without intraband transitions, hold for insulators only",
    )


def _wrong_pseudopotential(file: str, stdout: str, printout: Printout) -> Diagnosis | None:
    for label, element in printout.pseudo_elements.items():
        if element == element_of(label):
            continue
        line = rf"^\s+{re.escape(label)}\s+[\d.]+\s+[\d.]+\s+{element}\s*\("
        text = f"species {label} has the pseudopotential of {element}"
        return Diagnosis(
            name="pseudopotential_of_other_element",
            evidence=find_evidence(file, stdout, line, text),
            severity=Severity.INPUT,
            advice=f"{text}: name the element's own UPF in ATOMIC_SPECIES",
        )
    return None


def _overlap(file: str, stdout: str, printout: Printout) -> Diagnosis | None:
    closest = closest_sites(printout)
    if closest is None:
        return None
    first, second, distance_angstrom = closest[0], closest[1], closest[2] * BOHR_ANGSTROM
    if distance_angstrom > _least_distance_angstrom(first, second, distance_angstrom):
        return None
    number = second.rpartition(" ")[2]
    return Diagnosis(
        name="atoms_overlap",
        evidence=find_evidence(file, stdout, rf"tau\(\s*{number}\) =", second),
        severity=Severity.STRUCTURE,
        advice=f"Atoms {first} and {second} are {distance_angstrom:.2f} angstrom apart: mend the structure",
    )


def _least_distance_angstrom(first: str, second: str, distance_angstrom: float) -> float:
    if distance_angstrom > _CERTAIN_DISTANCE_ANGSTROM:
        return 0.0
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    radii = [CovalentRadius.radius.get(element_of(label.split()[0]), 0.0) for label in (first, second)]
    return max(SHORTEST_DISTANCE_ANGSTROM, _SHARE_OF_BOND * sum(radii))


def _too_few_bands(file: str, stdout: str, printout: Printout) -> Diagnosis | None:
    n_bands, n_electrons = printout.n_bands, printout.n_electrons
    if n_bands is None or n_electrons is None or printout.is_spin_polarised:
        return None
    if n_bands >= np.ceil(n_electrons / 2 - 1e-6):
        return None
    text = f"{n_bands} bands for {n_electrons:g} electrons"
    return Diagnosis(
        name="too_few_bands",
        evidence=find_evidence(file, stdout, r"number of Kohn-Sham states\s*=", text),
        severity=Severity.INPUT,
        advice=f"{text} do not hold them all: raise nbnd",
    )


def _other_density(file: str, stdout: str, printout: Printout, run: PwRun) -> Diagnosis | None:
    if not printout.is_band_run or printout.n_density_g is None:
        return None
    wrong = ""
    if run.scf is not None and run.scf.ecutwfc_ry is not None and run.scf.ecutwfc_ry != printout.ecutwfc_ry:
        wrong = f"the scf run had ecutwfc {run.scf.ecutwfc_ry:g} Ry, this one {printout.ecutwfc_ry:g} Ry"
    elif run.density_bytes is not None and (run.density_bytes - _HEAD_BYTES) % _BYTES_PER_G == 0:
        n_g = (run.density_bytes - _HEAD_BYTES) // _BYTES_PER_G
        # A run at Gamma alone keeps half of the vectors.
        if n_g not in (printout.n_density_g, (printout.n_density_g + 1) // 2):
            wrong = f"the density in the save directory has {n_g} G vectors"
    if not wrong:
        return None
    return Diagnosis(
        name="density_of_other_cutoff",
        evidence=find_evidence(file, stdout, r"Dense\s+grid:\s+\d+ G-vectors", wrong),
        severity=Severity.INPUT,
        advice=f"Run scf and nscf with the same cutoffs: {wrong}",
    )


def element_of(label: str) -> str:
    """Of a species label, which may carry a number or a word: Fe1, O_top."""
    symbol = label[:1].upper() + label[1:2].lower()
    return symbol if symbol in table() else symbol[:1]
