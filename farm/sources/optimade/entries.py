"""One entry of a server -> a structure that is not understood yet, or why there is none; pure.

Nothing in an answer is trusted: every field has its type checked here, and what a structure means is judged
where those of files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from re import sub
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from farm.crystal import MATERIAL_ID
from farm.sources.admission import MAX_ATOMS_READ, too_large
from farm.sources.cells import structure_dictionary
from farm.sources.items import Rejected, Unparsed
from farm.sources.optimade.providers import Provider
from farm.sources.properties import known_properties

_FIX = "Report it to the provider"
# Atoms that are there and have no position of their own.
_UNPLACED = {"site_attachments", "unknown_positions", "assemblies"}
_LONGEST_NAME = 48


class _WrongFieldError(Exception):
    """A field that is not what it has to be."""


def read_entry(
    entry: Any, number: int, provider: Provider, names: Mapping[str, str], url: str
) -> Unparsed | Rejected:
    """An element of ``data``.

    number: counts the entries, for those without an id
    names:  our names of properties -> the server's
    url:    of the server, with its version
    """
    where = f"{url}/structures, entry {number}"
    if not isinstance(entry, dict):
        return Rejected(where, "not an object", _FIX)
    own_id = entry.get("id")
    if not isinstance(own_id, str | int) or isinstance(own_id, bool) or own_id == "":
        return Rejected(where, "field id is missing", _FIX)
    own_id = str(own_id)
    source = f"{url}/structures/{quote(own_id[:200], safe='', errors='replace')}"
    attributes = entry.get("attributes")
    if not isinstance(attributes, dict):
        return Rejected(source, "field attributes is missing", _FIX)
    sites = attributes.get("species_at_sites")
    if isinstance(sites, list) and len(sites) > MAX_ATOMS_READ:
        return too_large(source, len(sites), "the cell")
    try:
        structure = _structure(attributes)
    except _WrongFieldError as error:
        return Rejected(source, str(error), _FIX)
    properties = _properties(attributes, names)
    printable = own_id if own_id.isprintable() else quote(own_id, errors="replace")
    properties |= {"database": provider.name, "database_id": printable[:200]}
    return Unparsed("structure", structure, source, material_id(provider, own_id), properties)


def material_id(provider: Provider, own_id: str) -> str:
    """Path-safe, and another for each id: ``<provider>-<id>``, or the id alone where it says as much.

    What had to be changed gets a hash at its end, so that ``a/b`` and ``a-b`` stay apart.
    """
    if provider.keeps_ids and MATERIAL_ID.fullmatch(own_id):
        return own_id
    prefix = sub(r"[^A-Za-z0-9_+]+", "-", provider.name).strip("-") or "optimade"
    wanted = own_id if own_id.startswith(f"{prefix}-") else f"{prefix}-{own_id}"
    if MATERIAL_ID.fullmatch(wanted):
        return wanted
    digest = blake2b(own_id.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{sub(r'[^A-Za-z0-9_+]+', '-', wanted)[:_LONGEST_NAME]}-{digest}"


def _structure(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """As pymatgen has it in JSON."""
    features = attributes.get("structure_features")
    if isinstance(features, list) and (unplaced := _UNPLACED & {f for f in features if isinstance(f, str)}):
        raise _WrongFieldError(f"atoms without a position of their own ({', '.join(sorted(unplaced))})")
    if attributes.get("nperiodic_dimensions", 3) not in (3, None):
        raise _WrongFieldError("not periodic in three dimensions")
    lattice = _vectors(attributes, "lattice_vectors")
    positions = _vectors(attributes, "cartesian_site_positions")
    sites = attributes.get("species_at_sites")
    if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
        raise _WrongFieldError(
            "field species_at_sites is missing" if sites is None else "field species_at_sites: no texts"
        )
    if len(lattice) != 3:
        raise _WrongFieldError(f"field lattice_vectors: {len(lattice)} vectors")
    if len(sites) != len(positions):
        raise _WrongFieldError(
            f"fields species_at_sites and cartesian_site_positions: {len(sites)} and {len(positions)}"
        )
    species = _species(attributes.get("species"))
    on_sites = [species.get(name) or [{"element": name, "occu": 1}] for name in sites]
    structure = structure_dictionary(lattice, positions, on_sites)
    if structure is None:
        raise _WrongFieldError("field lattice_vectors: no volume")
    return structure


def _vectors(attributes: Mapping[str, Any], field: str) -> NDArray[np.float64]:
    """Shape ``(n, 3)``, finite."""
    rows = attributes.get(field)
    if rows is None:
        raise _WrongFieldError(f"field {field} is missing")
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise _WrongFieldError(f"field {field}: no vectors of three")
    if not all(type(x) in (int, float) for row in rows for x in row):
        raise _WrongFieldError(f"field {field}: something else than numbers")
    try:
        vectors = np.array(rows, dtype=np.float64).reshape(-1, 3)
    except OverflowError:
        raise _WrongFieldError(f"field {field}: too large a number") from None
    if not np.isfinite(vectors).all():
        raise _WrongFieldError(f"field {field}: not finite")
    return vectors


def _species(given: Any) -> dict[str, list[dict[str, Any]]]:
    """Name -> what is on such a site; a vacancy leaves it occupied in part, which is refused later."""
    if given is None:
        return {}
    if not isinstance(given, list):
        raise _WrongFieldError("field species: no list")
    species = {}
    for one in given:
        name = one.get("name") if isinstance(one, dict) else None
        symbols = one.get("chemical_symbols") if isinstance(one, dict) else None
        shares = one.get("concentration") if isinstance(one, dict) else None
        if not isinstance(name, str) or not isinstance(symbols, list) or not isinstance(shares, list):
            raise _WrongFieldError("field species: name, chemical_symbols or concentration is missing")
        if len(symbols) != len(shares) or not all(
            isinstance(s, str) and type(c) in (int, float) for s, c in zip(symbols, shares, strict=True)
        ):
            raise _WrongFieldError(f"field species: {name!r:.20} makes no sense")
        if any(one.get("nattached") or ()):
            raise _WrongFieldError("atoms without a position of their own (nattached)")
        on_site = [
            {"element": s, "occu": c} for s, c in zip(symbols, shares, strict=True) if s != "vacancy"
        ]
        if not on_site:
            raise _WrongFieldError(f"field species: {name!r:.20} is a vacancy alone")
        species[name] = on_site
    return species


def _properties(attributes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """What is known under our names; ``given_as`` says what the server calls it."""
    said: dict[str, Any] = {}
    for ours, path in names.items():
        said[ours] = attributes
        for key in path.split("."):
            said[ours] = said[ours].get(key) if isinstance(said[ours], dict) else None
    found: dict[str, Any] = dict(known_properties(said))
    if found:
        found["given_as"] = ", ".join(f"{ours} = {names[ours]}" for ours in found)
    return found
