"""What yambo is told of the symmetry, and the k-points it then samples."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from farm.compact_cell import compact_cell
from farm.crystal import Crystal
from farm.errors import CalculationError, CrystalError
from farm.kpoints import SpaceGroup, shifted_grid, space_group, star_images
from farm.protocol import Protocol
from workers.yambo.symmetry import (
    complete_list,
    inequivalent_axes,
    symmorphic_rotations,
    symmorphic_save_xml,
    yambo_kpoints,
)

SHIFT = (1 / 64, 2 / 64, 3 / 64)


@pytest.fixture
def wurtzite() -> Crystal:
    """Polar, with a screw axis: neither inversion nor a symmorphic mirror for all of it."""
    a = 2.55
    return Crystal(
        material_id="wBN",
        lattice_angstrom=((a, 0.0, 0.0), (-a / 2, a * 3**0.5 / 2, 0.0), (0.0, 0.0, 4.2)),
        species=("B", "B", "N", "N"),
        frac_coords=(
            (1 / 3, 2 / 3, 0.0),
            (2 / 3, 1 / 3, 0.5),
            (1 / 3, 2 / 3, 0.375),
            (2 / 3, 1 / 3, 0.875),
        ),
    )


@pytest.fixture
def orthorhombic() -> Crystal:
    """All three axes differ."""
    return Crystal(
        material_id="NaCl",
        lattice_angstrom=((4.0, 0.0, 0.0), (0.0, 4.5, 0.0), (0.0, 0.0, 5.0)),
        species=("Na", "Cl"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
    )


def _symmorphic(group: SpaceGroup) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    shifts = group.translations - np.rint(group.translations)
    return group.rotations[np.abs(shifts).max(axis=1) < 1e-6]


def _xml(group: SpaceGroup, *, nosym: bool = False, a: float = 1.0, extra: str = "") -> str:
    operations = "".join(
        "<symmetry><info name='op'>crystal_symmetry</info>"
        f"<rotation>{' '.join(map(str, r.ravel()))}</rotation>"
        f"<fractional_translation>{t[0]} {t[1]} {t[2]}</fractional_translation></symmetry>"
        for r, t in zip(group.rotations, group.translations, strict=True)
    )
    lattice = (
        "<symmetry><info name='op'>lattice_symmetry</info><rotation>1 0 0 0 1 0 0 0 1</rotation></symmetry>"
    )
    flag = str(nosym).lower()
    return (
        '<?xml version="1.0"?><qes:espresso xmlns:qes="http://www.quantum-espresso.org/ns/qes/qes-1.0"><input>'
        f"<symmetry_flags><nosym>{flag}</nosym><noinv>{flag}</noinv></symmetry_flags></input><output>"
        f"<atomic_structure><cell><a1>{a} 0 0</a1><a2>0 1 0</a2><a3>0 0 1</a3></cell></atomic_structure>"
        f"<symmetries><nsym>{len(group.rotations)}</nsym><nrot>48</nrot>{operations}{lattice}</symmetries>"
        f"{extra}</output></qes:espresso>"
    )


IDENTITY = SpaceGroup(1, "P1", np.eye(3, dtype=np.int64)[None], np.zeros((1, 3)))


@pytest.mark.parametrize(("name", "n_cosets"), [("diamond", 1), ("layered", 2), ("wurtzite", 2)])
def test_stars_of_the_list_are_the_full_stars(
    request: pytest.FixtureRequest, name: str, n_cosets: int
) -> None:
    group = space_group(request.getfixturevalue(name))
    listed = shifted_grid((4, 4, 2), SHIFT)
    rotations = _symmorphic(group)
    completed = complete_list(listed, group.point_group, rotations)
    assert len(completed) == n_cosets * len(listed)
    sampled = np.concatenate([np.unique(row) for row in star_images(completed, rotations)])
    wanted = np.concatenate([np.unique(row) for row in star_images(listed, group.point_group)])
    assert np.array_equal(np.sort(sampled), np.sort(wanted))
    # Each point of the grid itself is there, as often as it is listed.
    there = {tuple(k) for k in np.round(completed, 9)}
    assert {tuple(k) for k in np.round(listed % 1.0, 9)} <= there


def test_kpoints_are_those_of_the_protocol(layered: Crystal) -> None:
    group = space_group(layered)
    protocol = Protocol(response_kppa=500)
    kpoints = yambo_kpoints(layered, compact_cell(layered), protocol, _symmorphic(group))
    assert kpoints.shape == (144, 3)
    # Exact, or yambo does not recognise the grid.
    assert np.abs(kpoints * 192 - np.rint(kpoints * 192)).max() < 1e-9


def test_symmetry_that_pw_did_not_find_costs_kpoints_up_to_a_bound(diamond: Crystal) -> None:
    few = np.eye(3, dtype=np.int64)[None]
    with pytest.raises(CrystalError, match=r"22800 k-points.* 1 symmorphic operations of 48"):
        yambo_kpoints(diamond, compact_cell(diamond), Protocol(response_kppa=1500), few)


def test_save_takes_the_symmetry_of_the_ground_state(layered: Crystal) -> None:
    group = space_group(layered)
    bands = "<band_structure><nelec>16</nelec></band_structure>"
    text = symmorphic_save_xml(_xml(IDENTITY, nosym=True, extra=bands), _xml(group))
    root = ET.fromstring(text)  # noqa: S314
    assert root.findtext("output/symmetries/nsym") == "12"
    assert len(root.findall("output/symmetries/symmetry")) == 12
    # Without these p2y takes time reversal away.
    assert root.findtext("input/symmetry_flags/nosym") == "false"
    assert root.findtext("input/symmetry_flags/noinv") == "false"
    assert root.findtext("output/band_structure/nelec") == "16"
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<qes:espresso xmlns:qes=')
    assert np.array_equal(symmorphic_rotations(text), symmorphic_rotations(_xml(group)))
    assert len(symmorphic_rotations(text)) == 12


@pytest.mark.parametrize(
    ("bands", "ground_state", "words"),
    [
        (_xml(IDENTITY), _xml(IDENTITY, a=1.1), "not of one cell"),
        (_xml(IDENTITY)[:-20], _xml(IDENTITY), "not complete"),
        (_xml(IDENTITY), _xml(IDENTITY).replace("crystal_symmetry", "lattice_symmetry"), "no symmetry"),
        (
            _xml(IDENTITY).replace("symmetry_flags", "flags"),
            _xml(IDENTITY),
            "holds no input/symmetry_flags",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(bands: str, ground_state: str, words: str) -> None:
    with pytest.raises(CalculationError, match=words):
        symmorphic_save_xml(bands, ground_state)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("diamond", (0, 0, 0)), ("layered", (0, 0, 2)), ("wurtzite", (0, 0, 2)), ("orthorhombic", (0, 1, 2))],
)
def test_equivalent_directions_are_computed_once(
    request: pytest.FixtureRequest, name: str, expected: tuple[int, int, int]
) -> None:
    crystal = request.getfixturevalue(name)
    assert inequivalent_axes(crystal, space_group(crystal)) == expected
