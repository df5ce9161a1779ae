"""What standard output of pw.x says of a run when there is nothing else: for directories of any origin.

A run of our own is judged by its XML (:mod:`workers.qe.outputs`); a directory that somebody brings may hold
no more than the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PW_BANNER = "Program PWSCF"

_NUMBER = r"(-?\d+\.?\d*(?:[EeDd][-+]?\d+)?)"
_SPECIES = re.compile(r"atomic species\s+valence\s+mass\s+pseudopotential\s*\n((?: +\S+ +[\d.]+ .*\n)+)")
_SPECIES_LINE = re.compile(r"\s*(\S+)\s+([\d.]+)\s+[\d.]+\s+([A-Z][a-z]?)\s*\(")
_AXIS = re.compile(rf"a\(\d\) = \(\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*\)")
_SITE = re.compile(
    rf"^\s+\d+\s+(\S+)\s+tau\(\s*\d+\) = \(\s*{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s*\)", re.MULTILINE
)
_BANDS_HEADER = re.compile(r"^ +k =.*bands \(ev\):\s*$", re.MULTILINE)
_BAND_VALUES = re.compile(r"-?\d+\.\d+")
_RELATIVE_MESH = re.compile(r"Dense\s+grid:\s+(\d+) G-vectors")


@dataclass(frozen=True, kw_only=True, eq=False)
class Printout:
    """The facts of one pw.x run that its text holds; None or empty where it does not.

    is_band_run:       no self-consistency was asked for (nscf, bands)
    pseudo_elements:   species label -> element that its pseudopotential is for
    axes:              lattice vectors as rows, in units of ``alat_bohr``
    sites:             label and Cartesian position of each atom, in units of ``alat_bohr``
    n_density_g:       G vectors of the charge density
    eigenvalues_ev:    shape ``(n_k, n_bands)``, of the last set that was printed
    """

    is_band_run: bool
    n_electrons: float | None
    n_bands: int | None
    ecutwfc_ry: float | None
    ecutrho_ry: float | None
    alat_bohr: float | None
    pseudo_elements: Mapping[str, str]
    axes: NDArray[np.float64]
    sites: tuple[tuple[str, tuple[float, float, float]], ...]
    has_smearing: bool
    is_spin_polarised: bool
    n_density_g: int | None
    eigenvalues_ev: NDArray[np.float64]


def read_printout(text: str) -> Printout:
    """Read what is there; never raises for what is not."""
    axes = [[float(v) for v in match.groups()] for match in _AXIS.finditer(text)][:3]
    species = _SPECIES.search(text)
    lines = species[1].splitlines() if species else []
    found = (_SPECIES_LINE.match(line) for line in lines)
    return Printout(
        is_band_run="Band Structure Calculation" in text or "End of band structure" in text,
        n_electrons=_value(text, r"number of electrons\s*="),
        n_bands=_integer(text, r"number of Kohn-Sham states\s*="),
        ecutwfc_ry=_value(text, r"kinetic-energy cutoff\s*="),
        ecutrho_ry=_value(text, r"charge density cutoff\s*="),
        alat_bohr=_value(text, r"lattice parameter \(alat\)\s*="),
        pseudo_elements={match[1]: match[3] for match in found if match},
        axes=np.array(axes) if len(axes) == 3 else np.zeros((0, 3)),
        sites=tuple((m[1], (float(m[2]), float(m[3]), float(m[4]))) for m in _SITE.finditer(text)),
        has_smearing="smearing, width (Ry)" in text or "Tetrahedron method" in text,
        is_spin_polarised="SPIN UP" in text,
        n_density_g=int(match[1]) if (match := _RELATIVE_MESH.search(text)) else None,
        eigenvalues_ev=_eigenvalues_ev(text),
    )


def closest_sites(printout: Printout) -> tuple[str, str, float] | None:
    """The two atoms that are closest to each other, periodic images included, and their distance in bohr.

    None where the text holds fewer than two atoms or no cell.
    """
    if len(printout.sites) < 2 or not len(printout.axes) or printout.alat_bohr is None:
        return None
    positions = np.array([position for _, position in printout.sites])
    cells = np.array(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij")).reshape(3, -1).T
    fractional = np.linalg.solve(printout.axes.T, positions.T).T
    first, second = np.triu_indices(len(positions), k=1)
    difference = fractional[first] - fractional[second]
    difference -= np.rint(difference)
    images = (difference[:, None, :] + cells) @ printout.axes
    distances = np.linalg.norm(images, axis=-1).min(axis=1)
    least = int(distances.argmin())
    names = [f"{label} {i + 1}" for i, (label, _) in enumerate(printout.sites)]
    return names[first[least]], names[second[least]], float(distances[least]) * printout.alat_bohr


def _value(text: str, label: str) -> float | None:
    match = re.search(rf"{label}\s*{_NUMBER}", text)
    return float(match[1].upper().replace("D", "E")) if match else None


def _integer(text: str, label: str) -> int | None:
    match = re.search(rf"{label}\s*(\d+)", text)
    return int(match[1]) if match else None


def _eigenvalues_ev(text: str) -> NDArray[np.float64]:
    last = max(text.rfind("End of self-consistent"), text.rfind("End of band structure"), 0)
    rows = []
    for match in _BANDS_HEADER.finditer(text, last):
        block: list[float] = []
        for line in text[match.end() :].lstrip("\n").splitlines():
            values = _BAND_VALUES.findall(line)
            if not values:
                break
            block += [float(value) for value in values]
        rows.append(block)
    # A list that was cut off in the middle is no list.
    if not rows or len({len(row) for row in rows}) != 1:
        return np.zeros((0, 0))
    return np.array(rows)
