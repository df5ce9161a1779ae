"""The material of a stored result as the worker saw it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from farm.compact_cell import CompactCell, cell_of_basis, compact_cell
from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Engine
from farm.kpoints import FloatArray, IntArray, space_group
from farm.protocol import Protocol
from farm.pseudopotentials import PseudoEntry, count_electrons, entry
from farm.result import Correction, Result
from workers.pw_steps import listed_kpoints

# A fractional translation of spglib closer to a lattice vector than this is none.
_SHIFT_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What all steps have in common.

    cell:        which was computed
    pseudos:     element -> entry of the table
    rotations:   symmorphic ones that pw.x found, on fractional positions in ``cell``; None: not recorded
    n_kpoints:   of the band calculation by pw.x, where that is recorded
    corrections: of all steps
    """

    crystal: Crystal
    cell: CompactCell
    protocol: Protocol
    engine: Engine
    n_electrons: int
    pseudos: Mapping[str, PseudoEntry]
    n_kpoints: int | None = None
    corrections: Sequence[Correction] = ()
    rotations: IntArray | None = None

    @property
    def pseudo_files(self) -> Mapping[str, str]:
        """Element -> file name."""
        return {element: pseudo.file for element, pseudo in self.pseudos.items()}

    @cached_property
    def points(self) -> tuple[FloatArray, IntArray]:
        """k-points and weights of a band calculation, in the reciprocal vectors of the computed cell.

        Raises CrystalError where YAMBO would need too many.
        """
        rotations = None
        if self.engine is Engine.YAMBO:
            rotations = _symmorphic(self.cell.crystal) if self.rotations is None else self.rotations
        return listed_kpoints(self.crystal, self.cell, self.protocol, rotations)


def subject_of(result: Result) -> Subject:
    """The subject of a result.

    Raises CrystalError for an element outside the pseudopotentials, ProtocolError for a protocol of another
    version, and InputError for a cell that is none of the crystal's.
    """
    crystal, parameters = result.crystal, result.parameters
    basis, rotations = parameters.get("computed_cell"), parameters.get("symmorphic_rotations")
    return Subject(
        crystal=crystal,
        cell=compact_cell(crystal) if basis is None else _recorded_cell(crystal, basis),
        protocol=Protocol.from_dict(dict(result.protocol), origin=crystal.material_id),
        engine=result.engine,
        n_electrons=count_electrons(crystal),
        pseudos={element: entry(element) for element in sorted(crystal.elements)},
        n_kpoints=parameters.get("n_kpoints") if parameters.get("bands") == "nscf" else None,
        corrections=result.corrections,
        rotations=None if rotations is None else np.array(rotations, dtype=np.int64).reshape(-1, 3, 3),
    )


def _recorded_cell(crystal: Crystal, recorded: Sequence[Sequence[int]]) -> CompactCell:
    basis = np.array(recorded, dtype=np.int64)
    if basis.shape != (3, 3) or abs(round(float(np.linalg.det(basis)))) != 1:
        raise InputError(f"{crystal.material_id}: field parameters.computed_cell is no cell of its lattice")
    return cell_of_basis(crystal, basis)


def _symmorphic(crystal: Crystal) -> IntArray:
    group = space_group(crystal)
    shifts = np.abs(group.translations - np.rint(group.translations)).max(axis=1)
    rotations: IntArray = group.rotations[shifts < _SHIFT_TOLERANCE]
    return rotations
