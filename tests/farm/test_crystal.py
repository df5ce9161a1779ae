"""Crystals: reduction, identity, and structures that cannot be treated."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from farm.crystal import SHORTEST_DISTANCE_ANGSTROM, Crystal, crystal_from_structure
from farm.errors import CrystalError

MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.212), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_a_conventional_cell_becomes_primitive() -> None:
    crystal = crystal_from_structure(MGO)
    assert len(MGO) == 8
    assert (crystal.n_atoms, crystal.formula) == (2, "MgO")
    assert crystal.volume_angstrom3 == pytest.approx(4.212**3 / 4)
    assert crystal.material_id == f"MgO-{crystal.content_hash[:8]}"


def test_the_electropositive_element_comes_first() -> None:
    caf2 = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.463), ["F", "Ca"], [[0.25, 0.25, 0.25], [0, 0, 0]]
    )
    assert crystal_from_structure(caf2).formula == "CaF2"


def test_identity_ignores_supercell_order_and_id() -> None:
    supercell = MGO.copy()
    supercell.make_supercell(2)
    shuffled = Structure.from_sites(list(reversed(MGO.sites)))
    hashes = {
        crystal_from_structure(s, material_id=i).content_hash
        for s, i in ((supercell, "a"), (shuffled, "b"))
    }
    assert hashes == {crystal_from_structure(MGO).content_hash}


def test_identity_sees_the_lattice_constant() -> None:
    wider = MGO.copy()
    wider.scale_lattice(MGO.volume * 1.01)
    assert crystal_from_structure(wider).content_hash != crystal_from_structure(MGO).content_hash


def test_a_crystal_survives_a_dict() -> None:
    crystal = crystal_from_structure(MGO, material_id="agm1", source="a book", properties={"gap": 4.9})
    copy = Crystal.from_dict(crystal.to_dict())
    assert copy == crystal
    assert copy.properties == {"gap": 4.9}


@pytest.mark.parametrize("material_id", ["../etc", "a/b", "", ".hidden", "x" * 65, "a b", "a.b"])
def test_ids_cannot_leave_their_directory(material_id: str) -> None:
    with pytest.raises(CrystalError, match="material id"):
        crystal_from_structure(MGO, material_id=material_id)


def test_partial_occupancy_names_the_site() -> None:
    alloy = Structure(Lattice.cubic(4.2), [{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]])
    with pytest.raises(CrystalError, match="partially occupied"):
        crystal_from_structure(alloy, source="alloy.cif")


def test_overlapping_atoms_are_both_named() -> None:
    cell = Structure(Lattice.cubic(4.2), ["Si", "O"], [[0, 0, 0], [0.05, 0, 0]])
    with pytest.raises(CrystalError, match=r"sites 1 \(Si\) and 2 \(O\) are 0\.21 angstrom apart"):
        crystal_from_structure(cell)


def test_overlap_is_found_in_any_cell_and_nowhere_else() -> None:
    # Against the search over images, in cells up to the most skewed and with sites in any image.
    rng = np.random.default_rng(7)
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        lattice = rng.normal(size=(3, 3)) + np.diag(rng.uniform(0.5, 4.0, 3))
        lattice[2] += int(rng.integers(-3, 4)) * lattice[0]
        if abs(np.linalg.det(lattice)) < 3:
            continue
        near = np.linalg.solve(lattice.T, rng.normal(size=3) * 0.4)
        coords = [[0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3]) + near + rng.integers(-2, 3, 3)]
        cell = Structure(Lattice(lattice), ["Si", "O"], coords)
        overlaps = bool(cell.distance_matrix[0, 1] < SHORTEST_DISTANCE_ANGSTROM)
        outcomes[overlaps] += 1
        if overlaps:
            with pytest.raises(CrystalError, match="angstrom apart"):
                crystal_from_structure(cell)
        else:
            assert crystal_from_structure(cell).n_atoms == 2
    assert min(outcomes.values()) > 50


def test_a_record_of_something_else_is_refused() -> None:
    with pytest.raises(CrystalError, match="not a crystal record"):
        Crystal.from_dict({"material_id": "x"})
