"""From a parsed structure to a crystal that the protocol can treat, or the reason why it cannot."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from farm.crystal import MATERIAL_ID, Crystal, crystal_from_structure
from farm.errors import CrystalError
from farm.pseudopotentials import SET_NAME, available_elements, count_electrons
from farm.sources.items import Rejected

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Beyond this the response function no longer fits the protocol's memory and time.
MAX_ATOMS = 100
# Cells that may still reduce to MAX_ATOMS; larger ones are not even reduced (distances go as N^2).
MAX_ATOMS_READ = 1000
# Bohr magnetons per cell; what a non-magnetic spin-polarised calculation leaves is below.
MAX_MOMENT = 0.1
# Elementary charges per cell; below is rounding.
_SMALLEST_CHARGE = 0.01

_MOMENT_KEYS = ("total_mag", "total_magnetization")


def admit(
    structure: Structure,
    *,
    source: str,
    material_id: str | None = None,
    properties: Mapping[str, Any] | None = None,
) -> Crystal | Rejected:
    """The primitive crystal of a structure, or why the protocol cannot treat it.

    An id that is not path-safe is replaced by formula and content hash.
    """
    source = _encodable(source)
    properties = {_encodable(key): _encodable(value) for key, value in (properties or {}).items()}
    if material_id is not None and not MATERIAL_ID.fullmatch(material_id):
        material_id = None
    refused = _refused_unreduced(structure, source, properties)
    if refused is not None:
        return refused
    try:
        with warnings.catch_warnings():
            # spglib announces a change of its errors at every call, pymatgen noble gases.
            warnings.simplefilter("ignore")
            crystal = crystal_from_structure(
                structure, material_id=material_id, source=source, properties=properties
            )
    except CrystalError as error:
        # The message starts with the id or source, which the report names already.
        reason = error.message.removeprefix(f"{material_id}: ").removeprefix(f"{source}: ")
        return Rejected(source, reason, error.fix or "Check the cell and its sites")
    return _refused_reduced(crystal, source) or crystal


def _encodable(value: Any) -> Any:
    # Names of files, and texts in JSON, may hold what no message and no store can.
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def elements_of(structure: Structure) -> frozenset[str]:
    """The element symbols of a structure; of species that are none, theirs."""
    return frozenset(_symbol(specie) for specie in structure.composition)


def _refused_unreduced(structure: Structure, source: str, properties: Mapping[str, Any]) -> Rejected | None:
    if len(structure) > MAX_ATOMS_READ:
        return too_large(source, len(structure), "the cell")
    if missing := sorted(elements_of(structure) - available_elements()):
        return Rejected(
            source,
            f"no pseudopotential in {SET_NAME} for {', '.join(missing)}",
            "Leave structures with such elements out",
        )
    if not all(structure.lattice.pbc):
        return Rejected(source, "not periodic in three dimensions", "Give crystals")
    charge = _charge(structure)
    if abs(charge) > _SMALLEST_CHARGE:
        return Rejected(source, f"a charge of {charge:+g} e a cell", "Give neutral crystals")
    for key in _MOMENT_KEYS:
        moment = properties.get(key)
        if isinstance(moment, int | float) and abs(moment) > MAX_MOMENT:
            return Rejected(
                source,
                f"magnetic ({key} {moment:.2f} Bohr magnetons), and spin is not treated",
                "Take a non-magnetic structure",
            )
    return None


def _charge(structure: Structure) -> float:
    # Of sites with oxidation states it is their sum, and those are often guessed.
    if any(getattr(specie, "oxi_state", None) for specie in structure.composition):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tells of such a charge
        return float(structure.charge)


def _refused_reduced(crystal: Crystal, source: str) -> Rejected | None:
    if crystal.n_atoms > MAX_ATOMS:
        return too_large(source, crystal.n_atoms, "the primitive cell")
    electrons = count_electrons(crystal)
    if electrons % 2:
        return Rejected(
            source,
            f"{electrons} valence electrons, an odd number: a metal without spin",
            "Only crystals with a gap can be treated",
        )
    return None


def too_large(source: str, n_atoms: int, cell: str) -> Rejected:
    """The rejection of a cell of too many atoms."""
    return Rejected(
        source,
        f"{n_atoms} atoms in {cell}, larger than what the protocol can treat ({MAX_ATOMS})",
        f"Give cells that reduce to at most {MAX_ATOMS} atoms",
    )


def _symbol(specie: Any) -> str:
    # Species carry an oxidation state around their element; dummies have a symbol only.
    element = getattr(specie, "element", specie)
    return str(getattr(element, "symbol", element))
