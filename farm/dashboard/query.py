"""What the table of materials is asked for: read from an address, and written into one; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self
from urllib.parse import urlencode

from farm.job import Engine, Outcome

# Columns the table may be sorted by, and what is written above them.
SORTABLE: Mapping[str, str] = {
    "formula": "Formula",
    "material_id": "Id",
    "space_group": "Space group",
    "n_atoms": "Atoms",
    "outcome": "Outcome",
    "gap_indirect_ev": "Gap (eV)",
    "gap_direct_ev": "Direct gap (eV)",
    "eps_inf_ipa": "ε∞ IPA",
    "eps_inf_rpa": "ε∞ RPA",
    "similarity_rpa_ipa": "SC[RPA; IPA]",
    "cpu_s": "CPU",
    "stored_utc": "Stored (UTC)",
}
# Of what is looked for, and so of what it is looked for in.
LONGEST_TEXT = 200
_PROTOCOL = re.compile(r"[0-9a-f]{1,64}")
_HAS = re.compile(r"\b(has|only)\s+((?:[A-Z][a-z]?\b[\s,]*)+)")
_LIST = re.compile(r"[A-Z][a-z]?(\s*,\s*[A-Z][a-z]?)+")
_SYMBOL = re.compile(r"[A-Z][a-z]?")


@dataclass(frozen=True, kw_only=True)
class Query:
    """Conditions, all of which a row meets; None and "": not asked.

    text:      parts of ids, formulas and space groups; ``Si, O`` or ``has Si, O``; ``only Si, O``
    protocol:  beginning of its hash
    gap_*_ev:  of the indirect gap
    sc_*:      of SC[RPA; IPA]
    physics:   ``changed`` by a correction, or ``kept``
    sort:      a column of SORTABLE; "": newest first
    page:      from 1
    problems:  what could not be understood, and was left out
    """

    text: str = ""
    outcome: str = ""
    engine: str = ""
    protocol: str = ""
    diagnosis: str = ""
    gap_min_ev: float | None = None
    gap_max_ev: float | None = None
    atoms_min: int | None = None
    atoms_max: int | None = None
    sc_min: float | None = None
    sc_max: float | None = None
    physics: str = ""
    sort: str = ""
    descending: bool = False
    page: int = 1
    problems: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Of the text what is looked for in ids, formulas and space groups."""
        return () if self._is_list else tuple(_HAS.sub(" ", self.text).split())

    @property
    def elements(self) -> frozenset[str]:
        """Elements a crystal has, others beside them."""
        return frozenset(_SYMBOL.findall(self.text)) if self._is_list else self._elements("has")

    @property
    def only_elements(self) -> frozenset[str]:
        """Elements a crystal is made of, no others; empty: not asked."""
        return self._elements("only")

    @property
    def is_filtered(self) -> bool:
        """Whether it asks for less than all."""
        unfiltered = Query(
            sort=self.sort, descending=self.descending, page=self.page, problems=self.problems
        )
        return self != unfiltered

    def sorted_by(self, column: str) -> Self:
        """The same sorted by a column; by the one it is sorted by already, the other way round."""
        return replace(self, sort=column, descending=self.sort == column and not self.descending, page=1)

    def address(self, path: str, **changes: Any) -> str:
        """A path with this query, some fields changed."""
        asked = replace(self, **changes)
        pairs = {
            f.name: "1" if getattr(asked, f.name) is True else f"{getattr(asked, f.name)}"
            for f in fields(asked)
            if f.name != "problems" and getattr(asked, f.name) != f.default
        }
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @property
    def _is_list(self) -> bool:
        """Whether the whole text is a list of elements."""
        return _LIST.fullmatch(self.text) is not None

    def _elements(self, word: str) -> frozenset[str]:
        found = (match[2] for match in _HAS.finditer(self.text) if match[1] == word)
        return frozenset(symbol for text in found for symbol in _SYMBOL.findall(text))


def read_query(given: Mapping[str, str]) -> Query:
    """The query of an address; what cannot be understood is left out, and said."""
    understood: dict[str, Any] = {"text": given.get("text", "").strip()[:LONGEST_TEXT]}
    problems: list[str] = []
    for name, text in given.items():
        reader = _READERS.get(name)
        if reader is None or not text.strip():
            continue
        try:
            understood[name] = reader(text.strip())
        except (ValueError, OverflowError):
            problems.append(f"{_NAMES.get(name, name)}: {text[:40]!r} is not possible")
    return Query(**understood, problems=tuple(problems))


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) < 1e9:  # NaN neither
        raise ValueError
    return value


def _natural(text: str) -> int:
    value = int(text)
    if not 0 <= value < 10**9:
        raise ValueError
    return value


def _one_of(*words: str) -> Any:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return read


def _hash(text: str) -> str:
    if not _PROTOCOL.fullmatch(text):
        raise ValueError
    return text


_READERS: Mapping[str, Any] = {
    "outcome": _one_of(*(outcome.value for outcome in Outcome)),
    "engine": _one_of(*(engine.value for engine in Engine)),
    "protocol": _hash,
    "diagnosis": lambda text: text[:LONGEST_TEXT],
    "gap_min_ev": _number,
    "gap_max_ev": _number,
    "atoms_min": _natural,
    "atoms_max": _natural,
    "sc_min": _number,
    "sc_max": _number,
    "physics": _one_of("changed", "kept"),
    "sort": _one_of(*SORTABLE),
    "descending": lambda text: text == "1",
    "page": lambda text: max(1, _natural(text)),
}
_NAMES = {
    "gap_min_ev": "gap from",
    "gap_max_ev": "gap to",
    "atoms_min": "atoms from",
    "atoms_max": "atoms to",
    "sc_min": "SC from",
    "sc_max": "SC to",
}
