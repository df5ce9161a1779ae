"""A crystal as the farm knows it: a structure, an identity, and what can be done with it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import CrystalError
from farm.standard_cell import primitive_cell

if TYPE_CHECKING:
    from pymatgen.core import Structure

_SYMBOL = re.compile(r"[A-Z][a-z]?")
# Ids become file names, Redis keys and URLs: nothing that could leave its directory.
MATERIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,63}")

# Shorter than any bond between atoms of the elements at hand (H-H 0.74 angstrom).
SHORTEST_DISTANCE_ANGSTROM = 0.6
# With a margin for rounding.
_SURE_DISTANCE_ANGSTROM = SHORTEST_DISTANCE_ANGSTROM + 1e-3
_SMALLEST_VOLUME_ANGSTROM3 = 1.0
# Of a cell vector in angstrom or a fractional coordinate.
_LARGEST_NUMBER = 1e6


@dataclass(frozen=True)
class Crystal:
    """A primitive cell with fully occupied sites.

    material_id:      path-safe name, unique in a farm
    lattice_angstrom: rows are the cell vectors a, b, c in angstrom
    species:          element symbols, one a site
    frac_coords:      fractional coordinates in [0, 1), one row a site
    source:           where it came from (database and id, file, citation)
    properties:       what the source says of it (``band_gap_ind``, ``e_above_hull``, ...)
    hall_number:      of the space group whose standard primitive cell this is, where that was found when
                      the crystal was made; None: not known. It does not travel and no copy has it.
    """

    material_id: str
    lattice_angstrom: tuple[tuple[float, float, float], ...]
    species: tuple[str, ...]
    frac_coords: tuple[tuple[float, float, float], ...]
    source: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict, compare=False)
    hall_number: int | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not MATERIAL_ID.fullmatch(self.material_id):
            raise CrystalError(
                f"material id {self.material_id!r} is not usable",
                fix="Use 1 to 64 letters, digits, '_', '-' or '+'",
            )
        if not self.species:
            raise CrystalError(f"{self.material_id}: the cell holds no atoms")
        if len(self.species) != len(self.frac_coords):
            raise CrystalError(f"{self.material_id}: sites and coordinates differ in number")
        if not np.isfinite(np.asarray(self.lattice_angstrom)).all() or (
            self.volume_angstrom3 < _SMALLEST_VOLUME_ANGSTROM3
        ):
            raise CrystalError(f"{self.material_id}: the cell has no volume")

    @property
    def n_atoms(self) -> int:
        """Number of sites in the primitive cell."""
        return len(self.species)

    @property
    def elements(self) -> frozenset[str]:
        """The distinct element symbols."""
        return frozenset(self.species)

    @cached_property
    def lattice(self) -> NDArray[np.float64]:
        """Cell vectors as rows, shape ``(3, 3)``, angstrom."""
        return np.array(self.lattice_angstrom, dtype=np.float64)

    @cached_property
    def volume_angstrom3(self) -> float:
        """Cell volume in cubic angstrom."""
        return abs(float(np.linalg.det(np.asarray(self.lattice_angstrom, dtype=np.float64))))

    @cached_property
    def formula(self) -> str:
        """Reduced formula in the source's order of elements, e.g. ``MgO``, ``CaF2``."""
        counts = Counter(self.species)
        divisor = gcd(*counts.values())
        parts = ((symbol, n // divisor) for symbol, n in counts.items())
        return "".join(symbol + (str(n) if n > 1 else "") for symbol, n in parts)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of species, lattice and positions, rounded to 1e-5, independent of the id."""
        sites = sorted(
            (s, *(round(x % 1.0, 5) % 1.0 for x in f))
            for s, f in zip(self.species, self.frac_coords, strict=True)
        )
        cell = [[round(x, 5) + 0.0 for x in row] for row in self.lattice_angstrom]
        return hashlib.sha256(json.dumps([cell, sites]).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON and msgpack."""
        return {
            "material_id": self.material_id,
            "lattice_angstrom": [list(row) for row in self.lattice_angstrom],
            "species": list(self.species),
            "frac_coords": [list(row) for row in self.frac_coords],
            "source": self.source,
            "properties": dict(self.properties),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Crystal:
        """The inverse of :meth:`to_dict`. Raises CrystalError naming a missing or bad field."""
        try:
            return cls(
                material_id=str(data["material_id"]),
                lattice_angstrom=_rows(data["lattice_angstrom"]),
                species=tuple(str(s) for s in data["species"]),
                frac_coords=_rows(data["frac_coords"]),
                source=str(data.get("source", "")),
                properties=dict(data.get("properties", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CrystalError(f"not a crystal record: {error!r}") from error

    def to_structure(self) -> Structure:
        """The same cell as a pymatgen Structure."""
        # pymatgen is loaded only where a structure is really handled: `farm status` never needs it.
        from pymatgen.core import Lattice, Structure

        return Structure(Lattice(self.lattice), list(self.species), [list(f) for f in self.frac_coords])


def elements_of(formula: str) -> frozenset[str]:
    """The element symbols of a formula, ``CaF2``."""
    return frozenset(_SYMBOL.findall(formula))


def _rows(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in rows)


def crystal_from_structure(
    structure: Structure,
    *,
    material_id: str | None = None,
    source: str = "",
    properties: Mapping[str, Any] | None = None,
    symprec: float = 0.01,
) -> Crystal:
    """Reduce a pymatgen Structure to its primitive cell, refined to the symmetry found.

    Without an id the crystal is named after its formula and content (``MgO-1f3a9c2b``). The cell
    keeps the orientation and setting of spglib's standardised primitive cell.

    Raises CrystalError for partial occupancy, sites closer than 0.6 angstrom, empty and flat cells,
    and numbers that are none.
    """
    import spglib

    name = material_id or source or "structure"
    if not len(structure):
        raise CrystalError(f"{name}: the cell holds no atoms")
    if not structure.is_ordered:
        site = next(s for s in structure if not s.is_ordered)
        raise CrystalError(
            f"{name}: site {site.species_string} is partially occupied",
            fix="Give an ordered cell (one element a site, occupancy 1)",
        )
    _reject_impossible_cell(structure, name)
    _reject_overlap(structure, name)
    numbers = [site.specie.Z for site in structure]
    cell = (structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    if dataset is None:
        raise CrystalError(f"{name}: no space group was found", fix="Check the cell and its sites")
    crystal = _named_crystal(primitive_cell(dataset), material_id, source, properties)
    # The one place that may know it; frozen for everyone else.
    object.__setattr__(crystal, "hall_number", int(dataset.hall_number))
    return crystal


def crystal_of_cell(
    lattice_angstrom: NDArray[np.float64],
    frac_coords: NDArray[np.float64],
    atomic_numbers: Sequence[int],
    *,
    material_id: str | None = None,
    source: str = "",
) -> Crystal | None:
    """The cell as it is given, neither reduced nor refined: a prediction needs no more.

    lattice_angstrom ``(3, 3)`` has the cell vectors as rows, frac_coords ``(n, 3)`` a site a row. Its id
    and content hash are of this cell and not of the primitive one. None where it cannot be told at once
    that the cell is sound: then :func:`crystal_from_structure` finds out, and says what is wrong.
    """
    numbers = np.concatenate([lattice_angstrom, frac_coords])
    if not (np.abs(numbers) < _LARGEST_NUMBER).all():
        return None
    if abs(float(np.linalg.det(lattice_angstrom))) < _SMALLEST_VOLUME_ANGSTROM3:
        return None
    if not _surely_apart(lattice_angstrom, frac_coords):
        return None
    cell = (lattice_angstrom, frac_coords, np.asarray(atomic_numbers))
    return _named_crystal(cell, material_id, source, None)


def _named_crystal(
    cell: Any, material_id: str | None, source: str, properties: Mapping[str, Any] | None
) -> Crystal:
    lattice, positions, numbers = cell
    order = np.argsort(numbers, kind="stable")
    # Electropositive element first, as chemists write it (MgO, not OMg).
    elements = [_symbol_and_electronegativity(int(numbers[i])) for i in order]
    symbols = [symbol for symbol, _ in elements]
    ranked = sorted(range(len(order)), key=lambda i: (elements[i][1], symbols[i], i))
    crystal = Crystal(
        material_id="unnamed" if material_id is None else material_id,
        lattice_angstrom=_rows(lattice.tolist()),
        species=tuple(symbols[i] for i in ranked),
        frac_coords=_rows([(positions[order[i]] % 1.0).tolist() for i in ranked]),
        source=source,
        properties=dict(properties or {}),
    )
    if material_id is not None:
        return crystal
    name = f"{crystal.formula}-{crystal.content_hash[:8]}"
    return Crystal.from_dict({**crystal.to_dict(), "material_id": name})


@cache
def _symbol_and_electronegativity(atomic_number: int) -> tuple[str, float]:
    from pymatgen.core import Element

    element = Element.from_Z(atomic_number)
    value = element.X
    return element.symbol, float(value) if value == value else 9.0  # noble gases have none: last


def _reject_impossible_cell(structure: Structure, name: str) -> None:
    # Before any geometry: the neighbour search of pymatgen crashes the process on NaN, and a fractional
    # coordinate of a million has lost the digits that tell where in the cell it lies.
    numbers = np.concatenate([structure.lattice.matrix, structure.frac_coords])
    if not (np.abs(numbers) < _LARGEST_NUMBER).all():
        raise CrystalError(
            f"{name}: a cell length or a coordinate is not a usable number",
            fix="Correct the cell and the sites",
        )
    volume = abs(float(np.linalg.det(structure.lattice.matrix)))
    if volume < _SMALLEST_VOLUME_ANGSTROM3:
        raise CrystalError(
            f"{name}: the cell has a volume of {volume:.3f} cubic angstrom",
            fix="Give cell vectors in angstrom that span a cell",
        )


def _reject_overlap(structure: Structure, name: str) -> None:
    if _surely_apart(structure.lattice.matrix, structure.frac_coords):
        return
    distances = structure.distance_matrix + np.eye(len(structure)) * 1e3
    i, j = np.unravel_index(int(np.argmin(distances)), distances.shape)
    if distances[i, j] < SHORTEST_DISTANCE_ANGSTROM:
        raise CrystalError(
            f"{name}: sites {i + 1} ({structure[int(i)].species_string}) and {j + 1} "
            f"({structure[int(j)].species_string}) are {distances[i, j]:.2f} angstrom apart",
            fix="Remove the duplicate site or correct the cell",
        )


def _surely_apart(lattice: NDArray[np.float64], frac_coords: NDArray[np.float64]) -> bool:
    """True when no two sites can be closer than the shortest distance, told without a search.

    Of the images of a pair, all but the one with fractional differences in [-1/2, 1/2] are apart by
    half a spacing of lattice planes or more: where the planes are far enough apart, it alone counts.
    Twenty times faster than the search, which reduces the cell first. False says nothing.
    """
    spacings = 1.0 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    if spacings.min() < 2.0 * _SURE_DISTANCE_ANGSTROM:
        return False
    first, second = _pairs(len(frac_coords))
    differences = frac_coords[first] - frac_coords[second]
    vectors = (differences - np.rint(differences)) @ lattice
    return not (np.einsum("ij,ij->i", vectors, vectors) < _SURE_DISTANCE_ANGSTROM**2).any()


@cache
def _pairs(n_sites: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.triu_indices(n_sites, 1)
