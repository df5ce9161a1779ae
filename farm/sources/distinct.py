"""Which crystals have the structure of another one that has come, as pymatgen's StructureMatcher judges."""

from __future__ import annotations

import struct
import warnings
from array import array
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

# The matcher's tolerances are 20 % of each cell length and 5 degrees of each angle. Lengths make 1.2^3 of
# volume; the angles change that of a reduced cell at most by another 1.32 (bcc, all three from 109.5 to
# 114.5 degrees).
_VOLUME_REACH = 1.2**3 * 1.32
_NONE = 0xFFFFFFFF
_HEADER = struct.Struct("<HB")


class Distinct:
    """The structures that have come, in 230 bytes (4 atoms) to 1.6 kB (100 atoms) each.

    Two are the same when pymatgen's StructureMatcher (primitive cells, volumes not scaled, no supercells,
    its own tolerances) says so. It is asked only for crystals with the same atoms in the primitive cell and
    volumes that it can bring together at all. A distorted supercell is thus another crystal: it has more
    atoms than what it is a distortion of.
    """

    def __init__(self) -> None:
        self._latest: dict[int, int] = {}  # by composition; each knows the one before
        self._before = array("I")
        self._volumes_angstrom3 = array("d")
        self._starts = array("Q")
        self._packed = bytearray()

    def __len__(self) -> int:
        return len(self._starts)

    def same_structure(self, crystal: Crystal) -> str | None:
        """The id of a crystal with this structure; None: there is none.

        One of the same id is not asked: a material may come again, for another protocol.
        """
        structure: Structure | None = None
        for number in self._candidates(crystal):
            material_id, candidate = self._unpacked(number)
            if material_id == crystal.material_id:
                continue
            structure = structure or crystal.to_structure()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pymatgen, on noble gases
                if self._matcher.fit(candidate, structure):
                    return material_id
        return None

    def add(self, crystal: Crystal) -> None:
        """Take a crystal."""
        key = _composition(crystal)
        self._before.append(self._latest.get(key, _NONE))
        self._latest[key] = len(self)
        self._volumes_angstrom3.append(crystal.volume_angstrom3)
        self._starts.append(len(self._packed))
        self._packed += _packed(crystal)

    def _candidates(self, crystal: Crystal) -> Iterator[int]:
        number = self._latest.get(_composition(crystal), _NONE)
        volume = crystal.volume_angstrom3
        while number != _NONE:
            ratio = self._volumes_angstrom3[number] / volume
            if 1 / _VOLUME_REACH < ratio < _VOLUME_REACH:
                yield number
            number = self._before[number]

    def _unpacked(self, number: int) -> tuple[str, Structure]:
        from pymatgen.core import Element, Lattice, Structure

        data, start = self._packed, self._starts[number]
        n_atoms, n_name = _HEADER.unpack_from(data, start)
        start += _HEADER.size
        name = data[start : start + n_name].decode()
        start += n_name
        symbols = [Element.from_Z(z) for z in data[start : start + n_atoms]]
        values: Any = np.frombuffer(bytes(data[start + n_atoms : start + 13 * n_atoms + 36]), dtype="<f4")
        rows = values.astype(np.float64).reshape(-1, 3)
        return name, Structure(Lattice(rows[:3]), symbols, rows[3:])

    @cached_property
    def _matcher(self) -> StructureMatcher:
        from pymatgen.analysis.structure_matcher import StructureMatcher

        return StructureMatcher(primitive_cell=True, scale=False, attempt_supercell=False)


def _composition(crystal: Crystal) -> int:
    """Of the primitive cell: how many of which element."""
    counted = sorted((symbol, crystal.species.count(symbol)) for symbol in crystal.elements)
    return int.from_bytes(blake2b(repr(counted).encode(), digest_size=8).digest(), "big")


def _packed(crystal: Crystal) -> bytes:
    """Header, id, an atomic number a site, cell and positions in single precision."""
    from pymatgen.core import Element

    name = crystal.material_id.encode()
    numbers = bytes(Element(symbol).Z for symbol in crystal.species)
    rows = np.array([*crystal.lattice_angstrom, *crystal.frac_coords], dtype="<f4")
    return _HEADER.pack(crystal.n_atoms, len(name)) + name + numbers + rows.tobytes()
