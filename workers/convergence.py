"""The ground-state ladders: cutoff first, then the k-grid; history -> Next | Converged | GaveUp.

Both stop at the first pair of neighbouring rungs whose total energies per atom agree, and the
smaller rung of the pair is the converged one (Grunert et al., Nat. Commun. 16, 8142 (2025)).

Only the converged rung is run to the protocol's threshold. The others decide, and are made cheap where
that cannot change the decision: a change of cutoff is taken on a coarse grid (it hardly depends on the
k-points), energies are converged to a hundredth of the tolerance, and every run starts from the density of
an earlier one. What falls too close to the tolerance, or fails, is decided as published.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import TypeVar

from farm.crystal import Crystal
from farm.kpoints import grid_divisions
from farm.protocol import Protocol
from farm.units import KCAL_MOL_EV, RYDBERG_EV

Grid = tuple[int, int, int]
T = TypeVar("T")

# Density grows by this factor a trial until the even grid gains points; small enough to miss none.
_KPPA_GROWTH = 1.02

# The coarse grid on which changes of cutoff are taken, and how much coarser it must be to pay.
_PROBE_KPPA = 150
_LEAST_SAVING = 3

# Of the tolerance: what a loose total energy may be off, and the margins within which a decision is not
# believed. On the coarse grid changes of cutoff were off by 0.01 to 1.3 meV per atom, 3 % at most.
LOOSE_SHARE = 0.01
_LOOSE_MARGIN = 0.03
_PROBE_MARGIN = 0.12

# The first run of all is what every other starts from: a better density saves them iterations.
_FIRST_SHARE = 1 / 30


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One ground-state calculation: cutoff and k-grid; a loose one only decides about the ladder."""

    ecutwfc_ry: int
    kgrid: Grid
    is_loose: bool = False


@dataclass(frozen=True)
class Next:
    """Run this rung next, from the density of ``start`` where there is one."""

    rung: Rung
    start: Rung | None = None


@dataclass(frozen=True)
class Converged:
    """This rung, already run to the protocol's threshold, is the converged one."""

    rung: Rung


@dataclass(frozen=True)
class GaveUp:
    """The ladder ended without agreement."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The rungs to climb and the tolerance; None: the first rung is taken as it is.

    probe_kgrid:  the coarse grid for changes of cutoff; None: the first grid is coarse enough
    tolerance_ev: change of the total energy per atom, eV
    """

    cutoffs_ry: tuple[int, ...]
    kgrids: tuple[Grid, ...]
    tolerance_ev: float | None
    probe_kgrid: Grid | None = None


def make_ladder(crystal: Crystal, protocol: Protocol) -> Ladder:
    """The ladder of a crystal: cutoffs in equal steps, k-grids each the next larger even one."""
    first = grid_divisions(crystal, protocol.ground_state_kppa, even=False)
    cutoffs = range(protocol.ecutwfc_ry, protocol.ecutwfc_max_ry + 1, protocol.ecutwfc_step_ry)
    if protocol.energy_tolerance_kcal_mol is None:
        return Ladder(cutoffs_ry=(protocol.ecutwfc_ry,), kgrids=(first,), tolerance_ev=None)
    probe = grid_divisions(crystal, min(_PROBE_KPPA, protocol.ground_state_kppa), even=False)
    return Ladder(
        cutoffs_ry=tuple(cutoffs) or (protocol.ecutwfc_ry,),
        kgrids=_growing_grids(crystal, first, protocol),
        tolerance_ev=protocol.energy_tolerance_kcal_mol * KCAL_MOL_EV,
        probe_kgrid=probe if prod(probe) * _LEAST_SAVING <= prod(first) else None,
    )


def loose_threshold_ry(protocol: Protocol, n_atoms: int, *, is_first: bool = False) -> float:
    """conv_thr of a run that only decides: a hundredth of the tolerance, for the whole cell."""
    tolerance_ev = (protocol.energy_tolerance_kcal_mol or 0.0) * KCAL_MOL_EV
    share = LOOSE_SHARE * (_FIRST_SHARE if is_first else 1.0)
    return max(protocol.scf_threshold_ry, share * tolerance_ev * n_atoms / RYDBERG_EV)


def next_rung(
    energies_ev: Mapping[Rung, float],
    ladder: Ladder,
    without_density: Collection[Rung] = (),
    failed: Collection[Rung] = (),
) -> Next | Converged | GaveUp:
    """What to run next, given the total energy per atom (eV) of every rung so far.

    without_density: rungs whose energy is known though they were not run
    failed:          loose rungs that cannot be run: what they were to tell is decided without them
    """
    starts = [rung for rung in energies_ev if rung not in without_density]
    first = ladder.kgrids[0]
    if ladder.tolerance_ev is None:
        return _settle(Rung(ecutwfc_ry=ladder.cutoffs_ry[0], kgrid=first), energies_ev, starts)
    if not energies_ev and (ladder.probe_kgrid is None or failed):
        # Most ladders end where they begin: then this is all of the first rung.
        return Next(Rung(ecutwfc_ry=ladder.cutoffs_ry[0], kgrid=first))
    climb = _Climb(energies_ev, starts, ladder.tolerance_ev, failed)
    probes = [] if ladder.probe_kgrid is None else [(ladder.probe_kgrid, True, _PROBE_MARGIN)]
    stages = [*probes, (first, True, _LOOSE_MARGIN), (first, False, 0.0)]
    cutoff = climb.to_agreement(
        ladder.cutoffs_ry,
        lambda ry: [(Rung(ecutwfc_ry=ry, kgrid=grid, is_loose=loose), m) for grid, loose, m in stages],
        lambda ry: f"the cutoff ladder ended at {ry} Ry",
    )
    if isinstance(cutoff, Next | GaveUp):
        return cutoff
    settled = _settle(Rung(ecutwfc_ry=cutoff, kgrid=first), energies_ev, starts)
    if isinstance(settled, Next):
        return settled  # the k-grid ladder starts from its density
    grid = climb.to_agreement(
        ladder.kgrids,
        lambda grid: [
            (Rung(ecutwfc_ry=cutoff, kgrid=grid, is_loose=loose), margin)
            for loose, margin in ((True, _LOOSE_MARGIN), (False, 0.0))
        ],
        lambda grid: f"the k-grid ladder ended at {'x'.join(map(str, grid))}",
    )
    if isinstance(grid, Next | GaveUp):
        return grid
    return _settle(Rung(ecutwfc_ry=cutoff, kgrid=grid), energies_ev, starts)


def _settle(rung: Rung, energies_ev: Mapping[Rung, float], starts: Sequence[Rung]) -> Next | Converged:
    """A rung that is run to the protocol's threshold, now or already."""
    return Converged(rung) if rung in energies_ev else Next(rung, closest_rung(rung, starts))


def closest_rung(rung: Rung, done: Iterable[Rung]) -> Rung | None:
    """Of the rungs that were run, the one whose density is closest: same cutoff, densest grid."""

    def closeness(other: Rung) -> tuple[bool, bool, int, int, bool]:
        same_cutoff = other.ecutwfc_ry == rung.ecutwfc_ry
        same_grid = other.kgrid == rung.kgrid
        size = prod(other.kgrid)
        return same_cutoff and same_grid, same_cutoff, size, other.ecutwfc_ry, not other.is_loose

    return max(done, key=closeness, default=None)


@dataclass(frozen=True)
class _Climb:
    """Comparing neighbouring rungs with what is known of their energies."""

    energies_ev: Mapping[Rung, float]
    starts: Sequence[Rung]
    tolerance_ev: float
    failed: Collection[Rung]

    def to_agreement(
        self,
        values: Sequence[T],
        stages: Callable[[T], Sequence[tuple[Rung, float]]],
        ended: Callable[[T], str],
    ) -> T | Next | GaveUp:
        """The first value that agrees with the next, or what must be run to know.

        stages: rungs that can tell the energy at a value, cheapest first, each with the share of the
                tolerance within which it is not believed
        """
        change_ev = float("nan")
        for smaller, larger in pairwise(values):
            for (one, margin), (other, _) in zip(stages(smaller), stages(larger), strict=True):
                if one in self.failed or other in self.failed:
                    continue
                change = self._change_ev(one, other)
                if isinstance(change, Next):
                    return change
                change_ev = change
                if abs(change_ev - self.tolerance_ev) >= margin * self.tolerance_ev:
                    break
            if change_ev < self.tolerance_ev:
                return smaller
        last = f"{change_ev * 1e3:.1f} meV per atom" if len(values) > 1 else "one rung only"
        return GaveUp(f"{ended(values[-1])} (last change {last})")

    def _change_ev(self, one: Rung, other: Rung) -> float | Next:
        energies_ev = []
        for rung in (one, other):
            # An energy to the protocol's threshold serves where a loose one would.
            known = self.energies_ev.get(replace(rung, is_loose=False), self.energies_ev.get(rung))
            if known is None:
                return Next(rung, closest_rung(rung, self.starts))
            energies_ev.append(known)
        return abs(energies_ev[1] - energies_ev[0])


def _growing_grids(crystal: Crystal, first: Grid, protocol: Protocol) -> tuple[Grid, ...]:
    grids = [first]
    kppa = float(protocol.ground_state_kppa)
    while kppa <= protocol.ground_state_kppa_max:
        grid = grid_divisions(crystal, int(kppa), even=True)
        if prod(grid) > prod(grids[-1]) and all(n >= m for n, m in zip(grid, grids[-1], strict=True)):
            grids.append(grid)
        kppa = max(kppa * _KPPA_GROWTH, kppa + 1)
    return tuple(grids)
