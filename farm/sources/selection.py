"""Which crystals of a source are wanted; pure."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from farm.crystal import Crystal
from farm.sources.distinct import Distinct
from farm.sources.items import Rejected, Skipped
from farm.sources.seen import Seen


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What to keep; None: no condition.

    max_atoms:   sites in the primitive cell, at most
    elements:    only crystals made of these elements
    exclude:     no crystal with any of these elements
    min_gap_ev:  the source's indirect gap (``band_gap_ind``), at least
    max_hull_ev: the source's energy above the hull (``e_above_hull``), at most, eV per atom
    space_group: international number
    limit:       stop after this many crystals
    """

    max_atoms: int | None = None
    elements: Collection[str] | None = None
    exclude: Collection[str] = ()
    min_gap_ev: float | None = None
    max_hull_ev: float | None = None
    space_group: int | None = None
    limit: int | None = None

    def why_not(self, crystal: Crystal) -> str | None:
        """Why a crystal is not wanted, in a few words; None: it is."""
        if self.max_atoms is not None and crystal.n_atoms > self.max_atoms:
            return f"more than {self.max_atoms} atoms"
        if reason := self.why_not_told(crystal.elements, crystal.properties):
            return reason
        if self.space_group is not None and space_group_number(crystal) != self.space_group:
            return f"space group other than {self.space_group}"
        return None

    def why_not_told(self, elements: frozenset[str], properties: Mapping[str, Any]) -> str | None:
        """The part of :meth:`why_not` that needs no reduced cell."""
        if self.elements is not None and not elements <= set(self.elements):
            return f"elements other than {', '.join(sorted(self.elements))}"
        if excluded := elements & set(self.exclude):
            return f"contains {', '.join(sorted(excluded))}"
        gap, hull = (_number(properties, key) for key in ("band_gap_ind", "e_above_hull"))
        if self.min_gap_ev is not None and (gap is None or gap < self.min_gap_ev):
            return "its source gives no gap" if gap is None else f"gap below {self.min_gap_ev:g} eV"
        if self.max_hull_ev is not None and (hull is None or hull > self.max_hull_ev):
            what = f"more than {self.max_hull_ev:g} eV per atom above the hull"
            return "its source gives no energy above the hull" if hull is None else what
        return None


class Sieve:
    """Lets each crystal pass once, and no more than a limit.

    Crystals are the same when their content hashes are (:class:`farm.sources.seen.Seen`). Another
    crystal under an id that has passed is Rejected: results are kept by id.

    distinct: holds what crystals must differ from, too; those that pass are added to it. None: crystals
        that are nearly the same pass
    """

    def __init__(self, limit: int | None = None, distinct: Distinct | None = None) -> None:
        self._seen = Seen()
        self._limit = limit
        self._distinct = distinct

    @property
    def is_full(self) -> bool:
        """True when as many crystals as the limit allows have passed."""
        return self._limit is not None and len(self._seen) >= self._limit

    def refuse(self, crystal: Crystal) -> Rejected | Skipped | None:
        """Why a crystal does not pass; None: it does, and is remembered."""
        if (same := self._seen.same_content(crystal.content_hash)) is not None:
            return Skipped(
                crystal.material_id, f"the same crystal as {same}", "the same crystal as another"
            )
        if self._seen.has_id(crystal.material_id):
            return Rejected(
                crystal.source or crystal.material_id,
                f"the id {crystal.material_id} belongs to another crystal",
                "Give each crystal its own id",
            )
        if self._distinct is not None:
            if (like := self._distinct.same_structure(crystal)) is not None:
                return Skipped(
                    crystal.material_id, f"the same structure as {like}", "the same structure as another"
                )
            self._distinct.add(crystal)
        self._seen.add(crystal.material_id, crystal.content_hash)
        return None


def select(
    items: Iterable[Crystal | Rejected | Skipped], filters: Filters | None = None
) -> Iterator[Crystal | Rejected | Skipped]:
    """Pass on the crystals that are wanted, each once; the others as Skipped with the reason.

    What passes is told by :class:`Sieve`. Reading ends with the limit.
    """
    filters = filters or Filters()
    sieve = Sieve(filters.limit)
    if sieve.is_full:
        return
    for item in items:
        if not isinstance(item, Crystal):
            yield item
        elif reason := filters.why_not(item):
            yield Skipped(item.material_id, reason)
        else:
            yield sieve.refuse(item) or item
            if sieve.is_full:
                return


def space_group_number(crystal: Crystal, symprec: float = 0.01) -> int | None:
    """International number of the space group as spglib finds it; None where it finds none."""
    import spglib

    numbers = [sorted(crystal.elements).index(symbol) for symbol in crystal.species]
    cell = (crystal.lattice_angstrom, crystal.frac_coords, numbers)
    with warnings.catch_warnings():
        # spglib announces another way of reporting errors at every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return int(dataset.number) if dataset is not None else None


def _number(properties: Mapping[str, Any], key: str) -> float | None:
    value = properties.get(key)
    # Nothing is above or below NaN.
    return float(value) if isinstance(value, int | float) and abs(value) < math.inf else None
