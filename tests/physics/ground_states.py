"""Small ground states with their local potential, and what pw.x makes of them at many k-points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from decks import SHIFT, Deck, boron_nitride, fcc, lithium_fluoride_sheared, selenium
from low_symmetry import crystal, moved

from farm.crystal import Crystal
from farm.kpoints import FloatArray, SpaceGroup, reduce_kpoints, shifted_grid, space_group
from workers.reduced_basis.bands import BandsRequest
from workers.reduced_basis.training import BandTolerance
from workers.rpa.save import Save
from workers.rpa.upf import Pseudopotential
from workers.rpa.wavefunctions import Wavefunctions, read_wavefunctions

# On no symmetry element; on the face of many zones; and the one point where bands meet by symmetry.
GENERIC, FACE, GAMMA = (0.11, 0.23, 0.37), (0.5, 0.25, -0.25), (0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A crystal, its scf run, and the k-points of the nscf run: a reduced grid and some more.

    shift:   of the grid, crystal coordinates
    n_bands: of the nscf run; the next band is well above at all points of the grid
    more:    further k-points, in or near the first zone
    """

    crystal: Crystal
    divisions: tuple[int, int, int]
    n_bands: int
    shift: tuple[float, float, float] = SHIFT
    scf_grid: tuple[int, int, int] = (2, 2, 2)
    cutoff_ry: float = 24.0
    system: str = ""
    more: tuple[tuple[float, float, float], ...] = (GENERIC,)

    @property
    def grid(self) -> FloatArray:
        """The full grid."""
        return shifted_grid(self.divisions, self.shift)

    def deck(self) -> Deck:
        """Grid points weigh as often as they occur, the others next to nothing."""
        kpoints, multiplicity = reduce_kpoints(self.grid, space_group(self.crystal).point_group)
        return Deck(
            crystal=self.crystal,
            kpoints=np.concatenate([kpoints, np.array(self.more)]),
            weights=[float(n) for n in multiplicity] + [1e-4] * len(self.more),
            n_bands=self.n_bands,
            scf_grid=self.scf_grid,
            cutoff_ry=self.cutoff_ry,
            system=self.system,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundState:
    """A finished scf run, and the nscf run that followed it.

    directory: the scf run's ``prefix.save``
    potential: local, by pp.x, hartree
    dense:     the nscf run at the points of the grid
    more:      the nscf run at the other k-points
    """

    case: Case
    directory: Path
    save: Save
    pseudos: dict[str, Pseudopotential]
    potential: FloatArray
    potential_file: Path
    group: SpaceGroup
    dense: Save
    more: Save

    def request(self, **changes: object) -> BandsRequest:
        """All bands of the nscf run, on its grid."""
        wanted = BandsRequest(
            grid=self.case.grid,
            n_bands=self.case.n_bands,
            window_ev=None,
            tolerance=BandTolerance(),
            path=np.zeros((0, 3)),
        )
        return replace(wanted, **changes)  # type: ignore[arg-type]  # fields by name

    @property
    def wavefunctions(self) -> Callable[[int, int], Wavefunctions]:
        """Of the nscf run."""
        # The grid comes first: the number of a file is that of its point.
        return partial(read_wavefunctions, self.dense)


def select(save: Save, chosen: slice) -> Save:
    """The save with some of its k-points."""
    weights = save.weights[chosen]
    return replace(
        save,
        kpoints=save.kpoints[chosen],
        weights=weights / weights.sum(),
        n_plane_waves=save.n_plane_waves[chosen],
        eigenvalues=save.eigenvalues[:, chosen],
    )


def argon() -> Crystal:
    """One atom."""
    h = 5.26 / 2
    return Crystal("Ar", ((0, h, h), (h, 0, h), (h, h, 0)), ("Ar",), ((0, 0, 0),))


def nitrogen() -> Crystal:
    """N2 in a box with little room around it."""
    return crystal("N2", np.diag([3.2, 3.2, 4.0]), [("N", (0, 0, 0.137)), ("N", (0, 0, 0.863))])


def beryllium() -> Crystal:
    """A metal of even electron number."""
    a, c = 2.29, 3.58
    lattice = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    return crystal("Be", lattice, [("Be", (1 / 3, 2 / 3, 0.25)), ("Be", (2 / 3, 1 / 3, 0.75))])


def lithium_fluoride_off_centre() -> Crystal:
    """The triclinic LiF with its centre of inversion between the points of a mesh of 15."""
    return moved(lithium_fluoride_sheared(), (1.5 / 15, 2.5 / 15, 4.5 / 15))


# nr1: the mesh that pw.x takes for the scf step. The nscf step knows no symmetry and would take a coarser
# one that does not hold the fractional translations: degenerate levels are split by 1 meV there.
CASES = {
    "diamond": Case(
        crystal=fcc(3.567, ("C", "C")),
        divisions=(4, 4, 4),
        n_bands=10,
        cutoff_ry=30,
        system="nr1=20, nr2=20, nr3=20,",
        more=(GENERIC, FACE, GAMMA),
    ),
    "h-BN": Case(
        crystal=boron_nitride(), divisions=(4, 4, 2), n_bands=14, scf_grid=(2, 2, 1), more=(GENERIC, FACE)
    ),
    "Se": Case(crystal=selenium(), divisions=(3, 3, 2), n_bands=12, scf_grid=(1, 1, 1)),
    "LiF": Case(
        crystal=lithium_fluoride_sheared(), divisions=(3, 3, 3), n_bands=12, more=(GENERIC, FACE, GAMMA)
    ),
    "Ar": Case(crystal=argon(), divisions=(4, 4, 4), n_bands=10, more=(GENERIC, FACE, GAMMA)),
    "N2": Case(crystal=nitrogen(), divisions=(3, 3, 2), n_bands=10, scf_grid=(1, 1, 1)),
    # In brings 4d electrons; the gap of 0.16 eV on this grid comes from the points next to Gamma.
    "InN": Case(crystal=fcc(4.98, ("In", "N")), divisions=(3, 3, 3), n_bands=14),
    "Be": Case(crystal=beryllium(), divisions=(3, 3, 2), n_bands=10, shift=(0, 0, 0), more=(GENERIC,)),
    # A grid that holds whole stars, of 1, 8, 6 and 12 points.
    "LiF, cubic": Case(
        crystal=fcc(4.0, ("Li", "F"), 0.5),
        divisions=(3, 3, 3),
        n_bands=12,
        shift=(0, 0, 0),
        more=(GENERIC,),
    ),
    # Only for H(k): I brings 4d electrons.
    "LiI": Case(
        crystal=fcc(6.0, ("Li", "I"), 0.5), divisions=(1, 1, 1), shift=GENERIC, n_bands=16, more=(FACE,)
    ),
    # The density needs only 3 times the cutoff: products of waves do not fit on the mesh.
    "LiF, small mesh": Case(
        crystal=lithium_fluoride_sheared(),
        divisions=(1, 1, 1),
        shift=GENERIC,
        n_bands=10,
        system="ecutrho=72,",
        more=(FACE, GAMMA),
    ),
    "LiF, small mesh, off centre": Case(
        crystal=lithium_fluoride_off_centre(),
        divisions=(1, 1, 1),
        shift=GENERIC,
        n_bands=10,
        system="ecutrho=72,",
        more=(FACE, GAMMA),
    ),
}
