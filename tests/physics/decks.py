"""Inputs of small pw.x calculations and the crystals they are for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from farm.crystal import Crystal
from farm.kpoints import FloatArray, reduce_kpoints, shifted_grid, space_group, star

# The shift of the published grids.
SHIFT = (1 / 64, 2 / 64, 3 / 64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Deck:
    """Input of one scf and one nscf run; cutoff in Ry, k-points in crystal coordinates."""

    crystal: Crystal
    kpoints: FloatArray
    weights: Sequence[float]
    n_bands: int
    scf_grid: tuple[int, int, int] = (4, 4, 4)
    cutoff_ry: float = 24.0
    system: str = ""

    def text(self, calculation: str, pseudo_dir: Path) -> str:
        """The pw.x input."""
        elements = sorted(self.crystal.elements)
        rows = "\n".join(" ".join(f"{x:.10f}" for x in row) for row in self.crystal.lattice)
        sites = zip(self.crystal.species, self.crystal.frac_coords, strict=True)
        atoms = "\n".join(f"{s} {x[0]:.12f} {x[1]:.12f} {x[2]:.12f}" for s, x in sites)
        species = "\n".join(f"{e} 1.0 {e}_ONCV_PBE-1.2.upf" for e in elements)
        is_scf = calculation == "scf"
        if is_scf:
            points = "K_POINTS automatic\n{} {} {} 0 0 0".format(*self.scf_grid)
        else:
            listed = zip(self.kpoints, self.weights, strict=True)
            lines = [f"{k[0]:.12f} {k[1]:.12f} {k[2]:.12f} {w}" for k, w in listed]
            points = "\n".join(["K_POINTS crystal", str(len(lines)), *lines])
        extra = "" if is_scf else f"nosym=.true., noinv=.true., nbnd={self.n_bands},"
        return f"""&CONTROL
 calculation='{calculation}', prefix='x', outdir='out', pseudo_dir='{pseudo_dir}', disk_io='low',
/
&SYSTEM
 ibrav=0, nat={self.crystal.n_atoms}, ntyp={len(elements)}, ecutwfc={self.cutoff_ry},
 occupations='fixed', {extra} {self.system}
/
&ELECTRONS
 conv_thr=1e-11, diago_full_acc=.true.,
/
ATOMIC_SPECIES
{species}
CELL_PARAMETERS angstrom
{rows}
ATOMIC_POSITIONS crystal
{atoms}
{points}
"""


RunPw = Callable[[Deck], Path]


def fcc(edge: float, species: Sequence[str], second: float = 0.25) -> Crystal:
    """Two atoms in the fcc primitive cell, edge in angstrom."""
    h = edge / 2
    return Crystal(
        "fcc", ((0, h, h), (h, 0, h), (h, h, 0)), tuple(species), ((0, 0, 0), (second, second, second))
    )


def reduced(crystal: Crystal, divisions: tuple[int, int, int]) -> tuple[FloatArray, list[float]]:
    """The shifted grid reduced by the point group, and the multiplicities."""
    grid = shifted_grid(divisions, SHIFT)
    kpoints, multiplicity = reduce_kpoints(grid, space_group(crystal).point_group)
    return kpoints, [float(m) for m in multiplicity]


def full_stars(crystal: Crystal, kpoints: FloatArray) -> FloatArray:
    """Every member of the star of every point."""
    group = space_group(crystal).point_group
    return np.concatenate([star(k, group) for k in kpoints])


def selenium() -> Crystal:
    """Trigonal Se, P3_121: screw axes, no inversion; a crystal whose x and y heads need H of order 2."""
    a, c, u = 4.37, 4.96, 0.225
    lattice = ((a, 0, 0), (-a / 2, a * 3**0.5 / 2, 0), (0, 0, c))
    return Crystal("Se", lattice, ("Se",) * 3, ((u, 0, 1 / 3), (0, u, 2 / 3), (1 - u, 1 - u, 0)))


def boron_nitride(order: Sequence[int] = (0, 1, 2, 3)) -> Crystal:
    """Hexagonal BN, P6_3/mmc (fractional translations c/2); atoms in any order."""
    a, c = 2.504, 6.661
    sites = (
        ("B", (1 / 3, 2 / 3, 0.25)),
        ("B", (2 / 3, 1 / 3, 0.75)),
        ("N", (2 / 3, 1 / 3, 0.25)),
        ("N", (1 / 3, 2 / 3, 0.75)),
    )
    lattice = ((a, 0, 0), (-a / 2, a * 3**0.5 / 2, 0), (0, 0, c))
    return Crystal("hBN", lattice, tuple(sites[i][0] for i in order), tuple(sites[i][1] for i in order))


def lithium_fluoride_sheared() -> Crystal:
    """LiF in a triclinic cell: only the inversion is left, and x, y and z share one body matrix."""
    crystal = fcc(4.0, ("Li", "F"), 0.5)
    shear = np.array([[1.02, 0.03, 0.05], [0.0, 0.97, 0.04], [0.0, 0.0, 1.01]])
    rows = tuple((float(x), float(y), float(z)) for x, y, z in crystal.lattice @ shear)
    return replace(crystal, lattice_angstrom=rows)
