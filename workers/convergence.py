"""The ground-state ladders: cutoff first, then the k-grid; history -> Next | Converged | GaveUp.

Both stop at the first pair of neighbouring rungs whose total energies per atom agree, and the
smaller rung of the pair is the converged one (Grunert et al., Nat. Commun. 16, 8142 (2025)).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from farm.crystal import Crystal
from farm.kpoints import grid_divisions
from farm.protocol import Protocol
from farm.units import KCAL_MOL_EV

Grid = tuple[int, int, int]

# Density grows by this factor a trial until the even grid gains points; small enough to miss none.
_KPPA_GROWTH = 1.02


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One ground-state calculation: cutoff and k-grid."""

    ecutwfc_ry: int
    kgrid: Grid


@dataclass(frozen=True)
class Next:
    """Run this rung next."""

    rung: Rung


@dataclass(frozen=True)
class Converged:
    """This rung, already run, is the converged one."""

    rung: Rung


@dataclass(frozen=True)
class GaveUp:
    """The ladder ended without agreement."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs to climb and the tolerance; None: the first rung is taken as it is.

    tolerance_ev: change of the total energy per atom, eV
    """

    cutoffs_ry: tuple[int, ...]
    kgrids: tuple[Grid, ...]
    tolerance_ev: float | None


def make_ladder(crystal: Crystal, protocol: Protocol) -> Ladder:
    """The ladder of a crystal: cutoffs in equal steps, k-grids each the next larger even one."""
    first = grid_divisions(crystal, protocol.ground_state_kppa, even=False)
    cutoffs = range(protocol.ecutwfc_ry, protocol.ecutwfc_max_ry + 1, protocol.ecutwfc_step_ry)
    if protocol.energy_tolerance_kcal_mol is None:
        return Ladder(cutoffs_ry=(protocol.ecutwfc_ry,), kgrids=(first,), tolerance_ev=None)
    return Ladder(
        cutoffs_ry=tuple(cutoffs) or (protocol.ecutwfc_ry,),
        kgrids=_growing_grids(crystal, first, protocol),
        tolerance_ev=protocol.energy_tolerance_kcal_mol * KCAL_MOL_EV,
    )


def next_rung(energies_ev: Mapping[Rung, float], ladder: Ladder) -> Next | Converged | GaveUp:
    """What to run next, given the total energy per atom (eV) of every rung run so far."""
    first = Rung(ecutwfc_ry=ladder.cutoffs_ry[0], kgrid=ladder.kgrids[0])
    if ladder.tolerance_ev is None:
        return Converged(first) if first in energies_ev else Next(first)
    by_cutoff = [Rung(ecutwfc_ry=cutoff, kgrid=first.kgrid) for cutoff in ladder.cutoffs_ry]
    cutoff = _climb(by_cutoff, energies_ev, ladder.tolerance_ev, "cutoff")
    if not isinstance(cutoff, Converged):
        return cutoff
    by_grid = [Rung(ecutwfc_ry=cutoff.rung.ecutwfc_ry, kgrid=grid) for grid in ladder.kgrids]
    return _climb(by_grid, energies_ev, ladder.tolerance_ev, "k-grid")


def _climb(
    rungs: Sequence[Rung], energies_ev: Mapping[Rung, float], tolerance_ev: float, what: str
) -> Next | Converged | GaveUp:
    change_ev = float("inf")
    for i, rung in enumerate(rungs):
        if rung not in energies_ev:
            return Next(rung)
        if i:
            change_ev = abs(energies_ev[rung] - energies_ev[rungs[i - 1]])
            if change_ev < tolerance_ev:
                return Converged(rungs[i - 1])
    last = rungs[-1]
    label = f"{last.ecutwfc_ry} Ry" if what == "cutoff" else "x".join(map(str, last.kgrid))
    change = f"{change_ev * 1e3:.1f} meV per atom" if len(rungs) > 1 else "one rung only"
    return GaveUp(f"the {what} ladder ended at {label} (last change {change})")


def _growing_grids(crystal: Crystal, first: Grid, protocol: Protocol) -> tuple[Grid, ...]:
    grids = [first]
    kppa = float(protocol.ground_state_kppa)
    while kppa <= protocol.ground_state_kppa_max:
        grid = grid_divisions(crystal, int(kppa), even=True)
        if prod(grid) > prod(grids[-1]) and all(n >= m for n, m in zip(grid, grids[-1], strict=True)):
            grids.append(grid)
        kppa = max(kppa * _KPPA_GROWTH, kppa + 1)
    return tuple(grids)
