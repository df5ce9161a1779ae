"""What pw.x left behind, as values: standard output for how it ended, XML for the numbers.

Success is judged here and only here. Exit code 0 and JOB DONE also follow a wrong pseudopotential,
too few bands, another cutoff, and unconverged eigenvalues.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.errors import CalculationError
from farm.units import HARTREE_EV
from workers.qe.inputs import PwInput

JOB_DONE = "JOB DONE."
_COMPLEX_BYTES = 16
SCF_CONVERGED = "convergence has been achieved"

_TIMES = re.compile(r"^\s*PWSCF\s*:\s*(\S.*?)\s*CPU\s+(\S.*?)\s*WALL", re.MULTILINE)
_TIME_PART = re.compile(r"([\d.]+)\s*([dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True, kw_only=True, eq=False)
class PwOutput:
    """The numbers of one finished pw.x run.

    energy_ev:      total energy, eV; None for a band calculation
    converged:      the scf cycle met its threshold (True for a band calculation)
    eigenvalues_ev: shape ``(n_k, n_bands)``, eV
    kweights:       weight of each k-point, shape ``(n_k,)``, sum as pw.x leaves it
    n_electrons:    valence electrons of the cell
    pseudo_files:   element -> file name that was read
    n_density_g:    G vectors of the charge density
    n_plane_waves:  plane waves at each k-point
    cpu_s, wall_s:  as pw.x reports them
    """

    calculation: str
    energy_ev: float | None
    converged: bool
    eigenvalues_ev: NDArray[np.float64]
    kweights: NDArray[np.float64]
    n_electrons: float
    ecutwfc_ry: float
    ecutrho_ry: float
    pseudo_files: Mapping[str, str]
    n_density_g: int
    n_plane_waves: tuple[int, ...]
    version: str
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class BandEdges:
    """Gaps of an insulator and how high the bands reach, eV.

    gap_indirect, gap_direct: on the k-points at hand; negative where bands overlap
    top:                      the highest band's minimum above the valence band maximum
    """

    valence_maximum_ev: float
    gap_indirect_ev: float
    gap_direct_ev: float
    top_ev: float


def parse_pw(stdout: str, xml: str) -> PwOutput:
    """Read a finished run. Raises CalculationError naming what is missing."""
    if JOB_DONE not in stdout:
        raise CalculationError("pw.x did not reach its end (no JOB DONE)")
    try:
        root = ET.fromstring(xml)  # noqa: S314  # written by pw.x in our own scratch
        if root.find("closed") is None:
            raise CalculationError("data-file-schema.xml was not closed")
        return _parse_tree(root, stdout)
    except (ET.ParseError, AttributeError, TypeError, ValueError) as error:
        raise CalculationError(f"data-file-schema.xml is not complete: {error!r}") from error


def _parse_tree(root: ET.Element, stdout: str) -> PwOutput:
    calculation = _text(root, "input/control_variables/calculation")
    bands = root.find("output/band_structure")
    if bands is None:
        raise CalculationError("data-file-schema.xml holds no bands")
    states = bands.findall("ks_energies")
    values = [np.array(_text(state, "eigenvalues").split(), dtype=np.float64) for state in states]
    weights = [float(state.find("k_point").get("weight")) for state in states]  # type: ignore[union-attr, arg-type]
    scf = calculation == "scf"
    cpu_s, wall_s = _reported_times(stdout)
    creator = root.find("general_info/creator")
    return PwOutput(
        calculation=calculation,
        energy_ev=float(_text(root, "output/total_energy/etot")) * HARTREE_EV if scf else None,
        converged=SCF_CONVERGED in stdout if scf else True,
        eigenvalues_ev=np.array(values) * HARTREE_EV,
        kweights=np.array(weights),
        n_electrons=float(_text(bands, "nelec")),
        ecutwfc_ry=float(_text(root, "output/basis_set/ecutwfc")) * 2.0,
        ecutrho_ry=float(_text(root, "output/basis_set/ecutrho")) * 2.0,
        pseudo_files={
            str(species.get("name")): _text(species, "pseudo_file")
            for species in root.findall("output/atomic_species/species")
        },
        n_density_g=int(_text(root, "output/basis_set/ngm")),
        n_plane_waves=tuple(int(_text(state, "npw")) for state in states),
        version=str(creator.get("VERSION")) if creator is not None else "",
        cpu_s=cpu_s,
        wall_s=wall_s,
    )


def mismatch(output: PwOutput, asked: PwInput, n_electrons: int) -> str | None:
    """What in a finished run is not what was asked for, in words; None when all agrees."""
    if not output.converged:
        return "the scf cycle did not converge"
    if output.calculation != asked.calculation:
        return f"the output is of a {output.calculation} run, not of {asked.calculation}"
    if not np.isfinite(output.eigenvalues_ev).all():
        return "an eigenvalue is not finite"
    # Each comparison has caught a run that pw.x itself called done.
    pairs: list[tuple[str, object, object]] = [
        ("pseudopotentials", dict(output.pseudo_files), dict(asked.pseudo_files)),
        ("electrons", round(output.n_electrons, 6), float(n_electrons)),
        ("ecutwfc", round(output.ecutwfc_ry, 6), float(asked.ecutwfc_ry)),
        ("ecutrho", round(output.ecutrho_ry, 6), float(asked.ecutrho_ry)),
    ]
    if asked.nbnd is not None:
        pairs.append(("bands", output.eigenvalues_ev.shape[1], asked.nbnd))
    if asked.kpoints:
        pairs.append(("k-points", output.eigenvalues_ev.shape[0], len(asked.kpoints)))
    for name, found, expected in pairs:
        if found != expected:
            return f"{name}: found {found}, asked for {expected}"
    return None


def truncated(output: PwOutput, sizes: Mapping[str, int]) -> str | None:
    """Which file of the save directory is absent or too short, in words; None when all are whole.

    pw.x says JOB DONE and returns 0 when the disk was full and the density never reached it.

    sizes: file name -> bytes
    """
    by_stem = {name.partition(".")[0]: size for name, size in sizes.items()}
    needed = {"charge-density": output.n_density_g * _COMPLEX_BYTES}
    if output.calculation == "nscf":
        n_bands = output.eigenvalues_ev.shape[1]
        for i, n_waves in enumerate(output.n_plane_waves, start=1):
            needed[f"wfc{i}"] = n_waves * n_bands * _COMPLEX_BYTES
    for stem, least in needed.items():
        if by_stem.get(stem, 0) < least:
            return f"{stem} holds {by_stem.get(stem, 0)} bytes of at least {least}"
    return None


def band_edges(output: PwOutput) -> BandEdges:
    """Gaps and reach with the lowest half of the electrons' bands filled at every k.

    Raises CalculationError when there is no empty band.
    """
    n_valence = round(output.n_electrons) // 2
    energies = output.eigenvalues_ev
    if energies.shape[1] <= n_valence:
        raise CalculationError(f"{energies.shape[1]} bands hold no empty one above {n_valence} filled")
    highest, lowest = energies[:, n_valence - 1], energies[:, n_valence]
    return BandEdges(
        valence_maximum_ev=float(highest.max()),
        gap_indirect_ev=float(lowest.min() - highest.max()),
        gap_direct_ev=float((lowest - highest).min()),
        top_ev=float(energies[:, -1].min() - highest.max()),
    )


def scf_accuracies_ry(stdout: str) -> list[float]:
    """The estimated scf accuracy after each iteration, Ry."""
    pattern = r"estimated scf accuracy\s*<\s*([\d.]+(?:[EeDd][-+]?\d+)?)\s*Ry"
    return [float(value.upper().replace("D", "E")) for value in re.findall(pattern, stdout)]


def _text(node: ET.Element, path: str) -> str:
    found = node.findtext(path)
    if found is None:
        raise CalculationError(f"data-file-schema.xml holds no {path}")
    return found.strip()


def _reported_times(stdout: str) -> tuple[float, float]:
    match = _TIMES.search(stdout)
    if match is None:
        raise CalculationError("pw.x printed no timing")
    cpu, wall = (
        sum(float(value) * _SECONDS[unit] for value, unit in _TIME_PART.findall(part))
        for part in match.groups()
    )
    return cpu, wall
