"""Which crystals of a source are wanted; pure."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from farm.crystal import Crystal
from farm.sources.items import Rejected, Skipped


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
        if self.elements is not None and not crystal.elements <= set(self.elements):
            return f"elements other than {', '.join(sorted(self.elements))}"
        if excluded := crystal.elements & set(self.exclude):
            return f"contains {', '.join(sorted(excluded))}"
        gap, hull = (_number(crystal.properties, key) for key in ("band_gap_ind", "e_above_hull"))
        if self.min_gap_ev is not None and (gap is None or gap < self.min_gap_ev):
            return "its source gives no gap" if gap is None else f"gap below {self.min_gap_ev:g} eV"
        if self.max_hull_ev is not None and (hull is None or hull > self.max_hull_ev):
            what = f"more than {self.max_hull_ev:g} eV per atom above the hull"
            return "its source gives no energy above the hull" if hull is None else what
        if self.space_group is not None and space_group_number(crystal) != self.space_group:
            return f"space group other than {self.space_group}"
        return None


def select(
    items: Iterable[Crystal | Rejected | Skipped], filters: Filters | None = None
) -> Iterator[Crystal | Rejected | Skipped]:
    """Pass on the crystals that are wanted, each once; the others as Skipped with the reason.

    Crystals are the same when their content hashes are. Another crystal under an id that was taken
    in this run is Rejected: results are kept by id. Reading ends with the limit.
    """
    filters = filters or Filters()
    by_content: dict[str, str] = {}
    by_id: set[str] = set()
    if filters.limit == 0:
        return
    for item in items:
        if not isinstance(item, Crystal):
            yield item
        elif reason := filters.why_not(item):
            yield Skipped(item.material_id, reason)
        elif item.content_hash in by_content:
            yield Skipped(item.material_id, f"the same crystal as {by_content[item.content_hash]}")
        elif item.material_id in by_id:
            yield Rejected(
                item.source or item.material_id,
                f"the id {item.material_id} belongs to another crystal",
                "Give each crystal its own id",
            )
        else:
            by_content[item.content_hash] = item.material_id
            by_id.add(item.material_id)
            yield item
            if len(by_id) == filters.limit:
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
    return float(value) if isinstance(value, int | float) else None
