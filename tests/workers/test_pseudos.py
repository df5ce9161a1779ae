"""Pseudopotential files are believed only byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import CrystalError, MissingProgramError
from farm.pseudopotentials import entry
from workers.pseudos import checked_pseudopotential, checked_pseudopotentials


def test_published_files_pass(pseudo_dir: Path) -> None:
    found = checked_pseudopotentials({"C", "Si"}, pseudo_dir)
    assert found == {"C": "C_ONCV_PBE-1.2.upf", "Si": "Si_ONCV_PBE-1.2.upf"}


def test_other_element_under_the_right_name_is_refused(pseudo_dir: Path, tmp_path: Path) -> None:
    # pw.x itself runs C in the place of Si without a word: the valences agree.
    (tmp_path / entry("Si").file).write_bytes((pseudo_dir / entry("C").file).read_bytes())
    with pytest.raises(MissingProgramError, match="not the published file"):
        checked_pseudopotential("Si", tmp_path)


def test_absent_file_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(MissingProgramError, match="FARM_PSEUDO_DIR"):
        checked_pseudopotential("Si", tmp_path)


def test_element_outside_the_set(tmp_path: Path) -> None:
    with pytest.raises(CrystalError, match="Pu has no pseudopotential"):
        checked_pseudopotential("Pu", tmp_path)
