"""The table of the pseudopotential set."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm import pseudopotentials
from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.pseudopotentials import count_electrons, entry, pseudopotential_directory, valence_electrons


def test_table_is_whole() -> None:
    assert len(pseudopotentials.AVAILABLE_ELEMENTS) == 69
    for element in pseudopotentials.AVAILABLE_ELEMENTS:
        found = entry(element)
        assert found.file.startswith(f"{element}_")
        assert len(bytes.fromhex(found.sha256)) == 32
        assert found.z_valence > 0


@pytest.mark.parametrize(("element", "electrons"), [("H", 1), ("Si", 4), ("Mg", 10), ("Al", 11), ("O", 6)])
def test_valences(element: str, electrons: int) -> None:
    assert valence_electrons(element) == electrons


def test_electrons_of_a_cell() -> None:
    crystal = Crystal(
        material_id="MgO",
        lattice_angstrom=((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
        species=("Mg", "O"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )
    assert count_electrons(crystal) == 16


def test_unknown_element_and_attribute() -> None:
    with pytest.raises(CrystalError, match="Eu"):
        valence_electrons("Eu")
    with pytest.raises(AttributeError, match="ELEMENTS_AVAILABLE"):
        _ = pseudopotentials.ELEMENTS_AVAILABLE


def test_directory_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FARM_PSEUDO_DIR", str(tmp_path / "mine"))
    assert pseudopotential_directory() == tmp_path / "mine"
    monkeypatch.delenv("FARM_PSEUDO_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert pseudopotential_directory() == tmp_path / "farm" / "pseudo" / "SG15-1.2-SR"
