"""A pw.x input as a frozen value; its text is generated and read back, never edited.

Cells are written with ``ibrav = 0`` and 12 digits, so that pw.x finds the symmetry we found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from farm.errors import CalculationError
from workers.convergence import Grid

PREFIX = "pwscf"
OUTDIR = "out"

# A larger Davidson space than pw.x' own: scf cycles of KBr, NaBeP and CaSnN2 take 11 to 25 % less CPU time,
# in fewer iterations; with many empty bands it restarts less often.
DAVID_NDIM = 4

Calculation = Literal["scf", "nscf"]
Diagonalization = Literal["david", "paro", "cg"]
KPoint = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class PwInput:
    """One pw.x run of an insulator with fixed occupations.

    lattice_angstrom, species, frac_coords: the cell as in :class:`farm.crystal.Crystal`
    pseudo_files:   element -> file name in ``pseudo_dir``
    masses_amu:     element -> atomic mass (written, of no effect here)
    pseudo_dir:     as seen from the run's directory
    kgrid:          unshifted automatic grid, or None
    kpoints:        explicit list in crystal coordinates with ``kweights``, used without symmetry
    nbnd:           bands; None leaves the occupied ones
    conv_thr_ry:    estimated error of the total energy that ends the scf cycle
    diago_thr_ry:   eigenvalue threshold of a band calculation; None: set by pw.x
    max_seconds:    soft stop, or None
    """

    calculation: Calculation
    lattice_angstrom: tuple[tuple[float, float, float], ...]
    species: tuple[str, ...]
    frac_coords: tuple[tuple[float, float, float], ...]
    pseudo_files: Mapping[str, str]
    masses_amu: Mapping[str, float]
    pseudo_dir: str
    ecutwfc_ry: float
    ecutrho_ry: float
    kgrid: Grid | None = None
    kpoints: tuple[KPoint, ...] = ()
    kweights: tuple[float, ...] = ()
    nbnd: int | None = None
    conv_thr_ry: float = 1e-10
    electron_maxstep: int = 100
    mixing_beta: float = 0.7
    mixing_mode: Literal["plain", "local-TF"] = "plain"
    mixing_ndim: int = 8
    diagonalization: Diagonalization = "david"
    diago_david_ndim: int = DAVID_NDIM
    diago_thr_ry: float | None = None
    startingpot: Literal["atomic", "file"] = "atomic"
    use_symmetry: bool = True
    max_seconds: int | None = None

    def evolve(self, **changes: Any) -> PwInput:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def namelists(self) -> dict[str, dict[str, str | int | float | bool]]:
        """What goes into each namelist, as Python values."""
        bands = self.calculation == "nscf"
        control: dict[str, str | int | float | bool] = {
            "calculation": self.calculation,
            "prefix": PREFIX,
            "outdir": f"./{OUTDIR}/",
            "pseudo_dir": self.pseudo_dir,
            # Wavefunctions in memory until the end; 6.7 with 'nowf' writes no density either.
            "disk_io": "low",
        }
        system: dict[str, str | int | float | bool] = {
            "ibrav": 0,
            "nat": len(self.species),
            "ntyp": len(set(self.species)),
            "ecutwfc": float(self.ecutwfc_ry),
            "ecutrho": float(self.ecutrho_ry),
            "occupations": "fixed",
        }
        electrons: dict[str, str | int | float | bool] = {
            "conv_thr": self.conv_thr_ry,
            "electron_maxstep": self.electron_maxstep,
            "mixing_mode": self.mixing_mode,
            "mixing_beta": self.mixing_beta,
            "mixing_ndim": self.mixing_ndim,
            "diagonalization": self.diagonalization,
            "diago_david_ndim": self.diago_david_ndim,
        }
        if self.max_seconds is not None:
            control["max_seconds"] = self.max_seconds
        if self.nbnd is not None:
            system["nbnd"] = self.nbnd
        if not self.use_symmetry:
            # With symmetry pw.x would complete an explicit list to the lattice's stars.
            system.update(nosym=True, noinv=True)
        if bands:
            electrons["diago_full_acc"] = True
        else:
            electrons["startingpot"] = self.startingpot
        if self.diago_thr_ry is not None:
            electrons["diago_thr_init"] = self.diago_thr_ry
        return {"CONTROL": control, "SYSTEM": system, "ELECTRONS": electrons}

    def text(self) -> str:
        """The input file. Raises CalculationError when it does not read back as what was asked."""
        lines: list[str] = []
        for name, entries in self.namelists().items():
            lines.append(f"&{name}")
            lines += [f"  {key} = {_fortran(value)}" for key, value in entries.items()]
            lines.append("/")
        lines.append("ATOMIC_SPECIES")
        for element in dict.fromkeys(self.species):
            lines.append(f"  {element} {self.masses_amu[element]:.4f} {self.pseudo_files[element]}")
        lines.append("CELL_PARAMETERS angstrom")
        lines += [_row(vector) for vector in self.lattice_angstrom]
        lines.append("ATOMIC_POSITIONS crystal")
        lines += [
            f"  {element}{_row(position)}"
            for element, position in zip(self.species, self.frac_coords, strict=True)
        ]
        lines += self._kpoint_lines()
        text = "\n".join(lines) + "\n"
        if parse_namelists(text) != self.namelists():
            raise CalculationError("a pw.x input did not read back as it was meant")
        return text

    def _kpoint_lines(self) -> list[str]:
        if self.kgrid is not None:
            return ["K_POINTS automatic", "  {} {} {} 0 0 0".format(*self.kgrid)]
        return [
            "K_POINTS crystal",
            f"{len(self.kpoints)}",
            *(f"{_row(k)} {w:.12g}" for k, w in zip(self.kpoints, self.kweights, strict=True)),
        ]


def parse_namelists(text: str) -> dict[str, dict[str, str | int | float | bool]]:
    """The namelists of a pw.x input as Python values; one assignment a line.

    Raises CalculationError for a line that is none.
    """
    found: dict[str, dict[str, str | int | float | bool]] = {}
    current: dict[str, str | int | float | bool] | None = None
    for line in text.splitlines():
        stripped = line.strip().rstrip(",")
        if stripped.startswith("&"):
            current = found.setdefault(stripped[1:].upper(), {})
        elif stripped == "/":
            current = None
        elif current is not None and stripped:
            key, equals, value = stripped.partition("=")
            if not equals:
                raise CalculationError(f"not an assignment in a pw.x input: {stripped!r}")
            current[key.strip().lower()] = _python(value.strip())
    return found


def _row(values: tuple[float, float, float]) -> str:
    return "".join(f"  {value:.12f}" for value in values)


def _fortran(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        if "'" in value or "\n" in value:
            raise CalculationError(f"{value!r} cannot be written into a pw.x input")
        return f"'{value}'"
    return str(value) if isinstance(value, int) else f"{value!r}".replace("e", "d")


def _python(value: str) -> str | int | float | bool:
    if value[:1] in "'\"":
        return value[1:-1]
    if value.lower() in (".true.", ".false."):
        return value.lower() == ".true."
    if re.fullmatch(r"[+-]?\d+", value):
        return int(value)
    return float(re.sub(r"[dD]", "e", value))
