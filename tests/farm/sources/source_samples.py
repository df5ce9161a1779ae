"""Small structure files, written into a test's directory."""

import bz2
import json
from pathlib import Path
from typing import Any

from pymatgen.core import Lattice, Structure

CIF = """\
data_{name}
_cell_length_a {edge}
_cell_length_b {edge}
_cell_length_c {edge}
_cell_angle_alpha 60
_cell_angle_beta 60
_cell_angle_gamma 60
_symmetry_space_group_name_H-M 'P 1'
_chemical_formula_sum '{formula}'
loop_
 _symmetry_equiv_pos_as_xyz
 'x, y, z'
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
{first}1 {first} 0 0 0 1.0
{second}1 {second} 0.5 0.5 0.5 {occupancy}
"""


def rock_salt_cif(
    first: str = "Mg",
    second: str = "O",
    *,
    a: float = 4.21,
    name: str = "x",
    occupancy: float = 1.0,
    formula: str | None = None,
) -> str:
    """A CIF of the rock salt structure, primitive cell; ``a`` is the cubic lattice constant."""
    return CIF.format(
        name=name,
        edge=a / 2**0.5,
        formula=formula or f"{first}1 {second}1",
        first=first,
        second=second,
        occupancy=occupancy,
    )


def rock_salt(first: str = "Mg", second: str = "O", a: float = 4.21) -> Structure:
    """The same as a pymatgen Structure, conventional cell."""
    centres = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    shifted = [[(x + 0.5) % 1 for x in centre] for centre in centres]
    return Structure(Lattice.cubic(a), [first] * 4 + [second] * 4, centres + shifted)


def entry(material_id: str, structure: Structure, **data: Any) -> dict[str, Any]:
    """An entry as Alexandria publishes it."""
    values = {
        "mat_id": material_id,
        "spg": 225,
        "nsites": len(structure),
        "band_gap_ind": 4.5,
        "band_gap_dir": 4.5,
        "total_mag": 0.0,
        "e_above_hull": 0.0,
        "stress": [[0.0] * 3] * 3,
    }
    return {
        "@class": "ComputedStructureEntry",
        "energy": -1.0,
        "entry_id": material_id,
        "data": values | data,
        "structure": structure.as_dict(),
    }


def write_alexandria(path: Path, entries: list[Any]) -> Path:
    """An Alexandria file, compressed if its name says so."""
    text = json.dumps({"entries": entries}).encode()
    path.write_bytes(bz2.compress(text) if path.suffix == ".bz2" else text)
    return path
