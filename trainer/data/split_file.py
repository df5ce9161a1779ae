"""A split from a file: published lists of ids, so that a model can be measured on what others held out.

::

    {"train": [ids], "validation": [ids], "test": [ids], "compositions": {id: formula}}

``val`` is read as ``validation``; only ``test`` must be there. Lists name structures, and a split by
composition needs to know what these are. That comes from crystals at hand with the same ids, and from
``compositions`` in the file where it has it (it may name ids that are nowhere at hand).

Guaranteed, for every crystal that the rule is made with:

- one whose id is in ``test`` is held out, and so is every other crystal of its composition, whatever list
  that one is in: no polymorph or supercell of a test material is learnt from;
- one of a composition that ``validation`` or ``train`` names is learnt from, or stops the fit early; it is
  never measured on, since a model fitted to the same lists has seen it. Of two lists with the same
  composition ``test`` wins, then ``validation``;
- every other goes by the hash of its composition, as without a file.

Not guaranteed from ids alone: a test material that is not at hand yet takes no polymorph of its own out of
what is learnt from. Make the rule anew from all crystals whenever some are added (a refit does): its hash
changes when a composition changes sides, and no base or score is carried over then. With ``compositions``
of all ids in the file nothing ever changes sides: `farm train split` adds them from structure files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

from pymatgen.core import Composition, Element

from farm.crystal import Crystal
from farm.errors import InputError
from trainer.data.split import DEFAULT_RULE, SplitRule, composition_key

_LISTS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_FIX = 'It has to be {"train": [ids], "validation": [ids], "test": [ids]}'


def rule_from_file(
    path: Path, crystals: Sequence[Crystal] | None = None, *, rule: SplitRule = DEFAULT_RULE
) -> SplitRule:
    """``rule`` with the compositions that a file of ids moves; see above for what is guaranteed.

    crystals: those at hand, with IPA alone or with both rungs; None: the file has to say the compositions

    Raises InputError naming the file and what is wrong with it, also when no composition of any test id is
    known: such a split would hold out nothing that it was given for.
    """
    lists, compositions = _read(path)
    for crystal in crystals or ():
        compositions[crystal.material_id] = composition_key(crystal)
    known = {name: {compositions[i] for i in ids if i in compositions} for name, ids in lists.items()}
    if not known["test"]:
        raise InputError(
            f"{path}: nothing is known of its {len(lists['test'])} test ids but their names",
            fix='Use data with these ids, or add "compositions": {id: formula} to the file',
        )
    validation = known["validation"] - known["test"]
    return replace(
        rule,
        held_out_compositions=tuple(sorted(known["test"])),
        validation_compositions=tuple(sorted(validation)),
        train_compositions=tuple(sorted(known["train"] - known["test"] - validation)),
    )


def with_compositions(path: Path, crystals: Iterable[Crystal]) -> dict[str, Any]:
    """A file of ids as a document, with the composition of each that is among ``crystals`` or in the file.

    Crystals in no list are left out. Raises InputError for a file that is no split.
    """
    lists, compositions = _read(path)
    listed = {i for ids in lists.values() for i in ids}
    for crystal in crystals:
        if crystal.material_id in listed:
            compositions[crystal.material_id] = composition_key(crystal)
    return {**lists, "compositions": dict(sorted(compositions.items()))}


def _read(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Ids by list, and the compositions that the file gives."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a split: {error}", fix=_FIX) from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: not a split", fix=_FIX)
    # A misspelt "test" would hold out nothing.
    if unknown := sorted(set(data) - set(_LISTS) - {"compositions"}):
        raise InputError(f"{path}: unknown field {', '.join(unknown)}", fix=_FIX)
    lists: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name, ids in data.items():
        if name in _LISTS:
            if not isinstance(ids, list) or not all(isinstance(i, str) for i in ids):
                raise InputError(f"{path}: {name}: not a list of ids", fix=_FIX)
            lists[_LISTS[name]] += ids
    if not lists["test"]:
        raise InputError(f"{path}: no list `test`", fix=_FIX)
    counts = Counter(i for ids in lists.values() for i in set(ids))
    if twice := sorted(i for i, count in counts.items() if count > 1):
        raise InputError(f"{path}: {twice[0]} is in two lists", fix="Take it out of one of them")
    return lists, _given_compositions(data.get("compositions", {}), path)


def _given_compositions(given: Any, path: Path) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise InputError(f"{path}: compositions: not an object of formulas by id", fix=_FIX)
    return {name: _key(formula, f"{path}: compositions: {name}") for name, formula in given.items()}


def _key(formula: Any, where: str) -> str:
    try:
        amounts = {Element(element.symbol).symbol: round(n) for element, n in Composition(formula).items()}
        divisor = gcd(*amounts.values())
        return "".join(f"{symbol}{amounts[symbol] // divisor}" for symbol in sorted(amounts))
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{where}: {formula!r} is no formula", fix="Write it as Mg2O2 or MgO") from error
