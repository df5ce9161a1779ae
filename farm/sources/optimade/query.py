"""What is asked of an OPTIMADE server: the user's filter, and those of ours it can apply; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd
from string import ascii_uppercase

from farm.errors import InputError
from farm.sources.selection import Filters

# What a crystal needs; servers refuse what they do not know, so nothing else is asked without need.
STRUCTURE_FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species_at_sites",
    "species",
    "nperiodic_dimensions",
    "structure_features",
)
# Our names -> those of servers, best first. A dot leads into a dictionary, which no filter can reach alike
# on all servers.
_GIVEN_AS: Mapping[str, tuple[str, ...]] = {
    "band_gap_ind": (
        "_alexandria_band_gap",
        "_mp_band_gap",
        "_oqmd_band_gap",
        "_gnome_bandgap",
        "_jarvis_optb88vdw_bandgap",
        "_twodmatpedia_band_gap",
        "_omdb_band_gap",
    ),
    "e_above_hull": (
        "_alexandria_hull_distance",
        "_mp_stability.gga_gga+u_r2scan.energy_above_hull",
        "_mp_stability.gga_gga+u.energy_above_hull",
        "_oqmd_stability",
        "_gnome_hull_distance",
        "_jarvis_ehull",
        "_odbx_thermodynamics.hull_distance",
    ),
    # The standard's own last: servers advertise it and leave it empty.
    "spg": (
        "_alexandria_space_group",
        "_gnome_space_group_it_number",
        "_mpdd_spacegroupn",
        "_jarvis_spg_number",
        "space_group_it_number",
    ),
    "total_mag": ("_alexandria_magnetization", "_mp_total_magnetization"),
}
# 51 formulas, 2300 characters in an address; servers take some 8000. With 12 atoms there were 8000.
_MOST_ATOMS_IN_FORMULAS = 8


@dataclass(frozen=True)
class Query:
    """What shall be read of a server.

    filter:  in the language of OPTIMADE, empty for none; the user's own
    filters: those of ``farm seed``, which are applied to every crystal again as it comes
    """

    filter: str
    filters: Filters

    def for_server(self, names: Mapping[str, str], advertised: Collection[str] | None) -> str:
        """The filter to send: the user's, and what the server can tell of ours.

        names:      of :func:`names_given`
        advertised: the server's properties; None: not known
        """
        conditions = [f"({self.filter})"] if self.filter else []
        return " AND ".join([*conditions, *_pushed(self.filters, names, advertised)])


def check_filter(text: str) -> None:
    """Raise InputError where a filter is not in OPTIMADE's language.

    Checked here and not by the server alone: in parentheses beside others, ``a) OR (b`` would mean
    something else.
    """
    from lark.exceptions import LarkError
    from optimade.exceptions import BadRequest
    from optimade.filterparser import LarkParser

    try:
        LarkParser().parse(text)
    except BadRequest as error:
        cause = error.__cause__
        column = getattr(cause, "column", -1) if isinstance(cause, LarkError) else -1
        where = f"at character {column}: {text[column - 1 :][:30]!r}" if column > 0 else "at its end"
        raise InputError(
            f"--filter is not an OPTIMADE filter, {where}",
            fix="""Write it like: elements HAS ALL "Si","O" AND nelements=2 (texts in double quotes)""",
        ) from error


def names_given(advertised: Collection[str] | None) -> dict[str, str]:
    """Our names of properties -> how the server calls them, where it has them; see ``_GIVEN_AS``."""
    given = {}
    for ours, candidates in _GIVEN_AS.items():
        known = (name for name in candidates if name.partition(".")[0] in (advertised or ()))
        if (name := next(known, None)) is not None:
            given[ours] = name
    return given


def response_fields(names: Mapping[str, str], advertised: Collection[str] | None) -> list[str]:
    """The fields to ask for: of the structure, and of what is told of it."""
    structure = [name for name in STRUCTURE_FIELDS if advertised is None or name in advertised]
    return [*structure, *dict.fromkeys(name.partition(".")[0] for name in names.values())]


def _pushed(filters: Filters, names: Mapping[str, str], advertised: Collection[str] | None) -> list[str]:
    conditions = []
    # `nsites <= N` would lose crystals: it counts the sites of the cell that the server holds, and a
    # conventional or larger cell reduces to fewer. The formula unit is never larger than the primitive
    # cell: a reduced formula of more than N atoms rules a crystal out for certain, and the others are few.
    most = filters.max_atoms
    knows_formulas = advertised is None or "chemical_formula_anonymous" in advertised
    if most is not None and most <= _MOST_ATOMS_IN_FORMULAS and knows_formulas:
        formulas = [f'chemical_formula_anonymous="{formula}"' for formula in anonymous_formulas(most)]
        conditions.append(_or_unknown("chemical_formula_anonymous", *formulas))
    unwanted = set(filters.exclude)
    if filters.elements is not None:
        # Not by HAS ONLY, which servers need not know.
        unwanted |= _all_elements() - set(filters.elements)
    if unwanted:
        listed = ",".join(f'"{symbol}"' for symbol in sorted(unwanted))
        conditions.append(f"NOT (elements HAS ANY {listed})")
    for ours, relation, bound in (
        ("band_gap_ind", ">=", filters.min_gap_ev),
        ("e_above_hull", "<=", filters.max_hull_ev),
    ):
        name = names.get(ours, "")
        if bound is not None and name and "." not in name:
            conditions.append(f"{name}{relation}{bound!r}")
    if filters.space_group is not None and "spg" in names:
        conditions.append(_or_unknown(names["spg"], f"{names['spg']}={filters.space_group}"))
    return conditions


def _or_unknown(name: str, *alternatives: str) -> str:
    # Where the server does not know, we find out.
    return f"({' OR '.join([*alternatives, f'{name} IS UNKNOWN'])})"


def anonymous_formulas(n_atoms: int) -> list[str]:
    """The anonymous reduced formulas of at most ``n_atoms`` atoms: ``A``, ``AB``, ``A2B``, ``ABC``, ..."""
    partitions = (p for n in range(1, n_atoms + 1) for p in _partitions(n, n))
    return [
        "".join(letter + (str(k) if k > 1 else "") for letter, k in zip(ascii_uppercase, p, strict=False))
        for p in partitions
        if gcd(*p) == 1
    ]


def _partitions(n: int, largest: int) -> Sequence[tuple[int, ...]]:
    """Ways to write n as a sum of falling positive integers, none above ``largest``."""
    if n == 0:
        return [()]
    return [(k, *rest) for k in range(min(n, largest), 0, -1) for rest in _partitions(n - k, k)]


@cache
def _all_elements() -> frozenset[str]:
    from pymatgen.core import Element

    return frozenset(Element.from_Z(number).symbol for number in range(1, 119))
